"""What an error of SQLite becomes: no room and a failing device are no damage."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_os import FaultyOs
from tierfs.common.errors import IndexDamaged, IndexFailed
from tierfs.common.metrics import Metrics
from tierfs.metadata import sqlite
from tierfs.metadata.index import Index
from tierfs.metadata.integrity import IntegrityCheck, repairing
from tierfs.metadata.reader import IndexReader
from tierfs.metadata.sqlite import failure_of


def error(code: int, text: str = "what SQLite says") -> sqlite3.Error:
    made = sqlite3.OperationalError(text)
    made.sqlite_errorcode = code
    names = {
        value: name for name, value in vars(sqlite3).items() if name.startswith("SQLITE_IOERR")
    }
    made.sqlite_errorname = names.get(code, "SQLITE_ERROR")
    return made


@pytest.fixture
def path(home: Path) -> Path:
    """An index that nobody has open."""
    found = home / "index.db"
    Index(found, FaultyOs(), Metrics()).close()
    return found


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_READONLY, errno.EROFS),
        (sqlite3.SQLITE_CANTOPEN, errno.EACCES),
        (sqlite3.SQLITE_NOMEM, errno.ENOMEM),
        (sqlite3.SQLITE_IOERR_READ, errno.EIO),
        (sqlite3.SQLITE_IOERR_FSYNC, errno.EIO),
        (sqlite3.SQLITE_BUSY, errno.EIO),
        (sqlite3.SQLITE_ERROR, errno.EIO),
        (sqlite3.SQLITE_CORRUPT, errno.EIO),
        (sqlite3.SQLITE_NOTADB, errno.EIO),
        (sqlite3.SQLITE_CORRUPT_INDEX, errno.EIO),
    ],
)
def test_each_code_has_its_errno(path: Path, code: int, number: int) -> None:
    assert failure_of(error(code), path).errno == number


def test_only_what_speaks_of_the_index_itself_is_damage(path: Path) -> None:
    codes = {value for name, value in vars(sqlite3).items() if name.startswith("SQLITE_IOERR")}
    codes |= {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}
    assert [code for code in codes if isinstance(failure_of(error(code), path), IndexDamaged)] == []
    assert isinstance(failure_of(error(sqlite3.SQLITE_CORRUPT), path), IndexDamaged)
    assert isinstance(failure_of(error(sqlite3.SQLITE_NOTADB), path), IndexDamaged)


def test_a_device_that_fails_is_said_to(path: Path) -> None:
    assert "its device failed (fsync)" in str(failure_of(error(sqlite3.SQLITE_IOERR_FSYNC), path))


def test_what_the_device_cannot_read_is_not_malformed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says SQLITE_CORRUPT where read(2) says EIO (SQLITE_IOERR_CORRUPTFS)."""
    real: Callable[..., Any] = Path.open

    def fails(self: Path, *args: object, **kwargs: object) -> object:
        if self == path:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fails)
        told = failure_of(error(sqlite3.SQLITE_CORRUPT, "database disk image is malformed"), path)
    assert not isinstance(told, IndexDamaged)
    assert f"{path}: Input/output error: its device failed" in str(told)


def test_what_follows_a_failed_sync_is_not_called_damage(path: Path) -> None:
    told = failure_of(error(sqlite3.SQLITE_CORRUPT), path, device_failed=True)
    assert not isinstance(told, IndexDamaged)
    assert "after its device failed: mount the volume again" in str(told)


def test_a_file_that_cannot_be_made_larger_is_no_room_where_there_is_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = failure_of(error(sqlite3.SQLITE_IOERR_SHMSIZE), path)
    assert told.errno == errno.EIO
    monkeypatch.setattr(sqlite, "_is_full", lambda _path: True)
    assert failure_of(error(sqlite3.SQLITE_IOERR_SHMSIZE), path).errno == errno.ENOSPC


def scramble(path: Path) -> None:
    """Spoil the one page of each table that the tests read."""
    with closing(sqlite3.connect(path)) as connection:
        roots = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name IN ('cut', 'inode', 'volume')"
        ).fetchall()
    with path.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * 1024)
            file.write(b"\xa5" * 1024)


def test_every_reader_of_the_index_says_the_same(path: Path) -> None:
    scramble(path)
    with closing(IndexReader(path)) as reader, pytest.raises(IndexDamaged, match="malformed"):
        reader.last_inode()
    with (
        closing(IntegrityCheck(path)) as check,
        pytest.raises(IndexDamaged, match="malformed"),
    ):
        check.owner()
    with pytest.raises(IndexDamaged, match="malformed"), repairing(path) as repair:
        repair.set_links(1, 2)
    with (
        closing(Index(path, FaultyOs(), Metrics())) as index,
        pytest.raises(IndexDamaged, match="malformed"),
    ):
        index.pending_truncations.all()


def test_damage_is_found_out_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scramble(path)
    asked: list[Path] = []

    def unreadable(found: Path) -> str:
        asked.append(found)
        return ""

    monkeypatch.setattr(sqlite, "unreadable", unreadable)
    with closing(Index(path, FaultyOs(), Metrics())) as index:
        for _ in range(3):
            with pytest.raises(IndexFailed):
                index.pending_truncations.all()
    assert len(asked) == 1
