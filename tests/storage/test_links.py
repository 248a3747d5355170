"""Something else than a file in the place of an object: nothing outside is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tierfs.common.osio import SYSTEM
from tierfs.storage.layout import object_path
from tierfs.storage.objects import ObjectLost, ObjectStore

INO = 5000
SECRET = b"root's secret"


def link(path: Path, secret: Path) -> None:
    path.unlink()
    path.symlink_to(secret)


def link_directory(path: Path, secret: Path) -> None:
    (secret.parent / path.name).write_bytes(SECRET)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(secret.parent)


def link_upper_directory(path: Path, secret: Path) -> None:
    (secret.parent / path.parent.name).mkdir()
    (secret.parent / path.parent.name / path.name).write_bytes(SECRET)
    path.unlink()
    path.parent.rmdir()
    path.parent.parent.rmdir()
    path.parent.parent.symlink_to(secret.parent)


def fifo(path: Path, _secret: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path, _secret: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture
def secret(home: Path) -> Path:
    """A file outside the store."""
    (home / "outside").mkdir()
    path = home / "outside/secret"
    path.write_bytes(SECRET)
    return path


@pytest.mark.timeout(10)
@pytest.mark.parametrize("trick", [link, link_directory, link_upper_directory, fifo, directory])
def test_no_object_leads_out(
    store: ObjectStore, secret: Path, trick: Callable[[Path, Path], None]
) -> None:
    store.write(INO, 0, b"bytes of the file")
    trick(store.root / object_path(INO), secret)
    for attempt in (
        lambda: store.read(INO, 0, 100),
        lambda: store.write(INO, 0, b"overwritten"),
        lambda: store.write(INO, 0, b"overwritten", holds=5),
        lambda: store.resize(INO, 0),
        lambda: store.resize(INO, 5, holds=5),
        lambda: store.sync(INO),
    ):
        with pytest.raises(ObjectLost, match="flash object is not a regular file"):
            attempt()
    assert store.length(INO) is None
    assert store.allocated(INO, 100) == 0
    assert store.pieces(INO, 0, 100) == []
    try:
        store.remove(INO)
    except OSError:
        assert trick is not link
    outside = {path.name: path.read_bytes() for path in secret.parent.rglob("*") if path.is_file()}
    assert set(outside.values()) == {SECRET}
    assert len(outside) == (1 if trick in (link, fifo, directory) else 2)


def test_a_new_object_is_not_made_behind_a_link(store: ObjectStore, secret: Path) -> None:
    (store.root / "00").symlink_to(secret.parent)
    with pytest.raises(OSError, match="symbolic link"):
        store.write(INO, 0, b"bytes")
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]


def test_the_directory_itself_is_no_link(home: Path, secret: Path) -> None:
    (home / "linked").symlink_to(secret.parent)
    with pytest.raises(OSError, match="symbolic link"):
        ObjectStore("flash", home / "linked", SYSTEM)


def test_links_above_are_followed_once(home: Path) -> None:
    (home / "first").mkdir()
    (home / "second").mkdir()
    way = home / "way"
    way.symlink_to("first")
    store = ObjectStore("flash", way / "heads", SYSTEM)
    way.unlink()
    way.symlink_to("second")
    store.write(INO, 0, b"kept")
    store.close()
    assert (home / "first/heads" / object_path(INO)).read_bytes() == b"kept"
    assert list((home / "second").iterdir()) == []
