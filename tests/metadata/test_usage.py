"""The kept counts: after the migration, over a restart, and after an unclean end."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import tierfs
from tests.metadata.rows import inode
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata.index import Index
from tierfs.metadata.schema import MIGRATIONS
from tierfs.metadata.usage import IndexUsage

BEFORE = 1
"""``user_version`` of an index without the table."""


def test_the_migration_counts_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for migration in MIGRATIONS[:BEFORE]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA user_version = {BEFORE}")
        for ino, size, prefix in ((20, 10**12, 65536), (21, 5, 65536), (22, 7, 0)):
            connection.execute(
                "INSERT INTO inode VALUES (?, 0x81A4, 0, 0, 1, ?, 0, 0, 0, 0, ?, 1, 1, NULL, 0, 0)",
                (ino, size, prefix),
            )
    index = Index(path, SYSTEM, Metrics())
    assert index.usage() == IndexUsage(3, 3, 65536 + 5, 10**12 - 65536 + 7, 2, 2, 2, 65536 + 5)
    index.close()


def killed(index: Index) -> None:
    """Close it as a kill would: nothing is written any more."""
    index._database._writing.close()
    index._database._connection.close()
    room = index._database.wal.preallocation
    assert room is not None
    room.close()
    index._database.wal.seqlock.close()


def opened(path: Path) -> Index:
    path.touch()
    return Index(path, SYSTEM, Metrics())


def test_bytes_of_a_deferred_row_count_at_once(tmp_path: Path) -> None:
    index = opened(tmp_path / "index.db")
    with index.transaction():
        index.inodes.insert(inode(20, size=10, prefix=4096))
    before = index.usage()
    index.inodes.defer(20, 5000, 1, hole=False)
    after = index.usage()
    assert (before.flash_bytes, before.disk_bytes) == (10, 0)
    assert (after.flash_bytes, after.disk_bytes) == (4096, 5000 - 4096)
    index.close()


def test_a_closed_index_knows_its_counts(tmp_path: Path) -> None:
    index = opened(tmp_path / "index.db")
    with index.transaction():
        index.inodes.insert(inode(20, size=2**62))
    usage = index.usage()
    index.checkpoint(0)
    index.keep_counts()
    index.checkpoint(0)
    index.close()
    index = opened(tmp_path / "index.db")
    assert index.usage() == usage
    assert not index.recount()
    index.close()


def test_after_an_unclean_end_the_inodes_are_counted_anew_beside_the_work(tmp_path: Path) -> None:
    index = opened(tmp_path / "index.db")
    with index.transaction():
        for ino in range(20, 2520):
            index.inodes.insert(inode(ino, size=1000))
    killed(index)
    index = opened(tmp_path / "index.db")
    assert index.usage().files == 0  # as at the checkpoint before
    assert index.recount()
    with index.transaction():  # in the part that is counted already, and in the part that is not
        index.inodes.change(index.inodes.get(30), size=70_000)
        index.inodes.change(index.inodes.get(2500), size=70_000)
        index.inodes.delete(31)
        index.inodes.delete(2501)
        index.inodes.insert(inode(9000, size=5))
    while index.recount():
        pass
    flash = 2496 * 1000 + 2 * 4096 + 5
    disk = 2 * (70_000 - 4096)
    assert index.usage() == IndexUsage(2499, 2499, flash, disk, 2499, 2, 2499, flash)
    index.keep_counts()
    index.close()
    index = opened(tmp_path / "index.db")
    assert index.usage().inodes == 2499
    index.close()


def test_a_mount_that_ends_before_all_is_counted_was_closed_all_the_same(tmp_path: Path) -> None:
    index = opened(tmp_path / "index.db")
    with index.transaction():
        index.inodes.insert(inode(20, size=1000))
    killed(index)
    index = opened(tmp_path / "index.db")
    assert not index.was_closed
    index.keep_counts()
    index.close()
    index = opened(tmp_path / "index.db")
    assert index.was_closed
    assert index.usage().files == 0
    while index.recount():
        pass
    assert index.usage().files == 1
    index.close()


def test_only_one_module_changes_rows_of_inodes() -> None:
    """Or the counts would not be kept; a repair and a restore have them counted anew."""
    statement = re.compile(r"(?:UPDATE|INTO|DELETE FROM) (?:main\.)?inode\b")
    home = Path(tierfs.__path__[0])
    writers = {path.name for path in home.rglob("*.py") if statement.search(path.read_text())}
    assert writers == {"inode_table.py", "integrity.py", "restoring.py"}
