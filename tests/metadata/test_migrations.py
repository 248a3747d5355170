"""The steps from an older index to the present shape; a new migration gets its test here."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.metadata.conftest import OpenIndex
from tests.metadata.rows import add, names
from tierfs.common.errors import IndexFailed, VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata import database
from tierfs.metadata.index import Index
from tierfs.metadata.schema import MIGRATIONS, VERSION

ADD_COLUMN = "ALTER TABLE inode ADD COLUMN extra INTEGER NOT NULL DEFAULT 7;"
BROKEN = "CREATE TABLE half (ino INTEGER) STRICT; INSERT INTO nowhere VALUES (1);"


def user_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def with_migrations(monkeypatch: pytest.MonkeyPatch, *further: str) -> None:
    """Let the program know more migrations than it does."""
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, *further))
    monkeypatch.setattr(database, "VERSION", VERSION + len(further))


def test_a_new_index_has_the_present_version(open_index: OpenIndex) -> None:
    assert user_version(open_index().path) == VERSION


def test_an_index_of_a_newer_tierfs_is_refused_and_left_alone(
    home: Path, open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        with_migrations(patch, ADD_COLUMN)
        add(open_index(), b"kept")
    with pytest.raises(VolumeRefused, match=f"schema {VERSION + 1}, this tierfs knows {VERSION}"):
        open_index()
    assert user_version(home / "index.db") == VERSION + 1


def test_an_older_index_is_migrated_and_keeps_its_rows(
    open_index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = add(open_index(), b"kept")
    with_migrations(monkeypatch, ADD_COLUMN, "UPDATE inode SET extra = extra + 1;")
    index = open_index()
    assert user_version(index.path) == VERSION + 2
    assert index.dentries.find(1, b"kept") == kept
    assert index._database.row("SELECT extra FROM inode WHERE ino = ?", kept.ino) == (8,)


def test_a_migration_that_fails_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "index.db"
    Index(path, SYSTEM, Metrics()).close()
    with monkeypatch.context() as patch:
        with_migrations(patch, BROKEN)
        with pytest.raises(IndexFailed, match="nowhere"):
            Index(path, SYSTEM, Metrics())
    assert user_version(path) == VERSION
    index = Index(path, SYSTEM, Metrics())
    assert names(index) == []
    assert index._database.rows("SELECT name FROM sqlite_master WHERE name = 'half'") == []
    index.close()


def test_what_is_no_database_is_an_error_with_the_reason(home: Path) -> None:
    (home / "index.db").write_bytes(b"this is no database at all. " * 100)
    with pytest.raises(IndexFailed, match="not a database"):
        Index(home / "index.db", SYSTEM, Metrics())


def test_the_birth_of_an_older_inode_is_not_known(home: Path) -> None:
    path = home / "index.db"
    before = 5
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for migration in MIGRATIONS[:before]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA user_version = {before}")
        connection.execute(
            "INSERT INTO inode VALUES (20, 33188, 0, 0, 1, 0, 0, 5, 6, 7, 0, 0, 1, NULL, 0, 0)"
        )
    index = Index(path, SYSTEM, Metrics())
    old = index.inodes.get(20)
    assert (old.atime, old.mtime, old.ctime, old.btime) == (5, 6, 7, 0)
    with index.transaction():
        index.inodes.update(old._replace(ctime=8))
    assert index.inodes.get(20).btime == 0
    index.close()
