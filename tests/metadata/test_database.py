from __future__ import annotations

import errno
import sqlite3
import subprocess
import sys
import threading
import uuid
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.metadata.conftest import OpenIndex
from tests.metadata.rows import add, inode
from tests.support.faulty_os import FaultyOs, Point
from tierfs.common.errors import IndexFailed, VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.units import KIB
from tierfs.metadata.database import HOUSEKEEPING_INTERVAL
from tierfs.metadata.index import Index
from tierfs.metadata.usage import READ_COUNTS, IndexUsage, UsageCounts


def pragma(index: Index, name: str) -> object:
    return index._database.rows(f"PRAGMA {name}")[0][0]


def test_the_log_is_written_ahead_and_never_checkpointed_in_a_request(index: Index) -> None:
    assert pragma(index, "journal_mode") == "wal"
    assert pragma(index, "wal_autocheckpoint") == 0


def test_no_page_of_the_database_is_mapped(index: Index) -> None:
    """A page that the device cannot read would end the daemon, by SIGBUS."""
    assert pragma(index, "mmap_size") == 0


def test_a_commit_is_in_the_file_before_the_reply(index: Index) -> None:
    made = add(index, b"a")
    with closing(sqlite3.connect(index.path)) as other:
        assert other.execute("SELECT ino FROM entry").fetchall() == [(made.ino,)]


def test_other_processes_are_kept_out(index: Index) -> None:
    """So that no lock of the log need be asked of the kernel."""
    add(index, b"a")
    count = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('SELECT * FROM inode')"
    other = subprocess.run(
        [sys.executable, "-c", count, index.path], capture_output=True, text=True, check=False
    )
    assert "database is locked" in other.stderr
    assert not index.path.with_name("index.db-shm").exists()


def test_an_index_that_another_process_has_open_is_refused(home: Path) -> None:
    path = home / "index.db"
    Index(path, FaultyOs(), Metrics()).close()
    look = (
        "import sqlite3, sys; there = sqlite3.connect(sys.argv[1])\n"
        "print(there.execute('SELECT * FROM inode').fetchall(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", look, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(IndexFailed, match="another program, such as sqlite3, has it open"):
            Index(path, FaultyOs(), Metrics())
        other.communicate(timeout=20)


def test_sync_syncs_the_log(open_index: OpenIndex) -> None:
    faulty = FaultyOs()
    index = open_index(faulty)
    add(index, b"first")  # the first transaction reserves serials
    faulty.clear()
    add(index, b"a")
    index.sync()
    assert faulty.labels == ["index.commit", "index.sync"]


def test_no_sync_is_believed_after_one_that_failed(open_index: OpenIndex) -> None:
    faulty = FaultyOs()
    index = open_index(faulty)
    faulty.clear()
    faulty.fail(Point("index.sync"), errno.EIO)
    with pytest.raises(IndexFailed, match="Input/output error"):
        index.sync()
    with pytest.raises(IndexFailed, match="mount the volume again"):
        index.sync()


def test_a_log_at_its_limit_is_emptied_by_the_next_transaction(index: Index) -> None:
    for number in range(100):
        add(index, b"%0200d" % number)
    index.limit_log(index.log_size() - 1)
    add(index, b"next")
    assert index.log_size() < 10 * 4096


def test_a_log_that_grows_beyond_its_limit_is_emptied_soon(index: Index) -> None:
    add(index, b"first")
    index.limit_log(index.log_size())
    sizes = []
    for number in range(4 * HOUSEKEEPING_INTERVAL):
        add(index, b"%d" % number)
        sizes.append(index.log_size())
    assert sizes[-1] <= max(sizes[: 2 * HOUSEKEEPING_INTERVAL])


def test_a_file_that_is_made_takes_little_of_the_log(index: Index) -> None:
    for number in range(100):
        add(index, b"%d" % number)
    before = index.log_size()
    for number in range(100, 200):
        add(index, b"%d" % number)
    assert (index.log_size() - before) / 100 < 8 * KIB


def test_a_checkpoint_copies_the_log_into_the_database(index: Index) -> None:
    before = index.path.stat().st_size
    for number in range(300):
        add(index, b"%0200d" % number)
    assert index.path.stat().st_size == before
    index.checkpoint(1 << 30)
    assert index.path.stat().st_size > before
    # The log is used again from its beginning.
    log = index._database.wal.size()
    for number in range(300):
        with index.transaction():
            index.dentries.delete(1, b"%0200d" % number)
    index.checkpoint(1 << 30)
    assert index._database.wal.size() <= 2 * log


def test_a_checkpoint_beside_an_open_transaction_waits_for_nothing(index: Index) -> None:
    add(index, b"a")
    with index.transaction():
        index.inodes.insert(inode(5000))
        index.checkpoint(1 << 30)
    assert index.inodes.get(5000)


def test_what_is_read_only_takes_no_transaction_and_makes_no_file(home: Path) -> None:
    path = home / "index.db"
    with closing(Index(path, FaultyOs(), Metrics())) as index:
        made = add(index, b"a")
    before = {file.name: file.stat().st_mtime_ns for file in home.iterdir()}
    with closing(Index(path, FaultyOs(), Metrics(), read_only=True)) as index:
        assert index.dentries.find(1, b"a") == made
        for _ in range(2):
            with pytest.raises(IndexFailed) as failed, index.transaction():
                pass
            assert failed.value.errno == errno.EROFS
        index.sync()
        index.checkpoint(0)
        while index.recount():
            pass
        assert index.usage().inodes == 1
    assert {file.name: file.stat().st_mtime_ns for file in home.iterdir()} == before


def test_transactions_are_counted(home: Path) -> None:
    metrics = Metrics()
    with closing(Index(home / "index.db", FaultyOs(), metrics)) as index:
        add(index, b"a")
        with suppress(ZeroDivisionError), index.transaction():
            _ = 1 // 0
    counted = {
        result: metrics.registry.get_sample_value(
            "tierfs_index_transactions_total", {"result": result}
        )
        for result in ("commit", "rollback")
    }
    assert counted == {"commit": 2, "rollback": 1}  # one reserves serials


def test_a_full_database_is_enospc(index: Index) -> None:
    ((pages,),) = index._database.rows("PRAGMA page_count")
    index._database._connection.execute(f"PRAGMA max_page_count = {pages + 10}")

    def fill() -> None:
        for number in range(10_000):
            with index.transaction():
                index.xattrs.put(number, b"user.big", bytes(4000))

    with pytest.raises(IndexFailed) as failed:
        fill()
    assert failed.value.errno == errno.ENOSPC
    assert index.xattrs.find(0, b"user.big") == bytes(4000)


def test_a_statement_that_fails_is_eio(index: Index) -> None:
    with pytest.raises(IndexFailed) as failed:
        index._database.rows("SELECT * FROM nowhere")
    assert failed.value.errno == errno.EIO


def test_an_index_belongs_to_one_volume(open_index: OpenIndex) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()
    index = open_index()
    with pytest.raises(VolumeRefused, match="belongs to no volume: restore"):
        index.require(mine)
    index.bind(mine)
    index.require(mine)
    with pytest.raises(VolumeRefused, match=f"belongs to volume {mine}, not to {other}"):
        open_index().require(other)


def test_usage_counts_by_tier(index: Index) -> None:
    with index.transaction():
        index.inodes.insert(inode(1, mode=0o040755, size=4096))
        index.inodes.insert(inode(20))
        index.inodes.insert(inode(21, size=100))
        index.inodes.insert(inode(22, size=4096))
        index.inodes.insert(inode(23, size=5000))
        index.inodes.insert(inode(24, size=7, prefix=0))
        index.inodes.insert(inode(25, size=10**12, prefix=2**63 - 1))
    assert index.usage() == IndexUsage(
        inodes=7,
        files=6,
        flash_bytes=100 + 4096 + 4096 + 10**12,
        disk_bytes=904 + 7,
        flash_files=4,
        disk_files=2,
        alone_files=4,
        alone_bytes=100 + 4096 + 4096 + 10**12,
    )


def test_usage_survives_files_of_any_size(index: Index) -> None:
    with index.transaction():
        for ino in range(20, 24):
            index.inodes.insert(inode(ino, size=2**63 - 1, prefix=0))
    assert index.usage().disk_files == 4
    assert index.usage().disk_bytes == 4 * (2**63 - 1)


def test_usage_is_kept_not_counted(index: Index) -> None:
    with index.transaction():
        for ino in range(20, 2020):
            index.inodes.insert(inode(ino, size=5000))
    statements: list[str] = []
    index._database._connection.set_trace_callback(statements.append)
    assert index.usage().files == 2000
    assert statements == []


def test_usage_follows_every_change(index: Index) -> None:
    with index.transaction():
        index.inodes.insert(inode(20, size=5000, prefix=4096))
        index.inodes.insert(inode(21, mode=0o040755, size=4096))
    with index.transaction():
        index.inodes.change(index.inodes.get(20), size=3 * 2**32 + 1)
    assert index.usage() == IndexUsage(2, 1, 4096, 3 * 2**32 + 1 - 4096, 1, 1, 1, 4096)
    with index.transaction():
        index.inodes.update(index.inodes.get(20)._replace(prefix=2**63 - 1, mode=0o100600))
    assert index.usage() == IndexUsage(2, 1, 3 * 2**32 + 1, 0, 1, 0, 1, 3 * 2**32 + 1)
    with index.transaction():
        index.inodes.update(index.inodes.get(20)._replace(mirrored=1))
    assert index.usage() == IndexUsage(2, 1, 3 * 2**32 + 1, 0, 1, 0, 0, 0)
    with suppress(ZeroDivisionError), index.transaction():
        index.inodes.delete(20)
        _ = 1 // 0
    assert index.usage().files == 1
    with index.transaction():
        index.inodes.delete(20)
    assert index.usage() == IndexUsage(1, 0, 0, 0, 0, 0, 0, 0)


def test_xattrs_are_those_of_their_inode(index: Index) -> None:
    with index.transaction():
        index.xattrs.put(20, b"user.b\xff", b"\x00value")
        index.xattrs.put(20, b"user.a", b"")
        index.xattrs.put(21, b"user.a", b"other")
        index.xattrs.put(20, b"user.a", b"new")
    assert index.xattrs.names(20) == [b"user.a", b"user.b\xff"]
    assert index.xattrs.find(20, b"user.a") == b"new"
    with index.transaction():
        assert index.xattrs.delete(20, b"user.a")
        assert not index.xattrs.delete(20, b"user.a")
        index.xattrs.delete_all(20)
    assert index.xattrs.names(20) == []
    assert index.xattrs.find(21, b"user.a") == b"other"


def test_the_cuts_are_a_set(index: Index) -> None:
    with index.transaction():
        index.pending_truncations.add(7)
        index.pending_truncations.add(7)
        index.pending_truncations.add(8)
    assert index.pending_truncations.all() == [7, 8]
    with index.transaction():
        index.pending_truncations.delete(7)
        index.pending_truncations.delete(7)
    assert index.pending_truncations.all() == [8]


@pytest.mark.parametrize("column", ["size", "prefix", "mtime", "mirrored"])
def test_a_damaged_row_is_an_error_of_that_inode(index: Index, column: str) -> None:
    """What no statement can write, a broken device can leave."""
    made = add(index, b"a")
    index.inodes.forget_cached()
    weaker = "replace(replace(sql, 'NOT NULL', ''), 'STRICT', '')"
    for statement in (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = {weaker} WHERE name = 'inode'",  # noqa: S608
        f"UPDATE inode SET {column} = NULL WHERE ino = {made.ino}",  # noqa: S608
    ):
        with closing(sqlite3.connect(index.path, isolation_level=None)) as other:
            other.execute("PRAGMA writable_schema = ON")
            other.execute(statement)
    with pytest.raises(IndexFailed, match=f"the row of inode {made.ino} is damaged") as caught:
        index.inodes.get(made.ino)
    assert caught.value.errno == errno.EIO


def test_a_damaged_row_of_the_volume_is_an_error(index: Index) -> None:
    with index.transaction():
        index._database.execute("DELETE FROM volume")
    with pytest.raises(IndexFailed, match="row of the volume is missing or damaged"):
        index.require(uuid.uuid4())


@pytest.mark.parametrize("damage", ["DELETE FROM usage", "UPDATE usage SET exact = 1"])
def test_damaged_counts_are_counted_anew(index: Index, damage: str) -> None:
    with index.transaction():
        index._database.execute(damage)
    assert UsageCounts(index._database.row(READ_COUNTS)).exact == ("exact" in damage)


def test_a_statement_that_gets_past_the_lock_is_told_and_ends_nothing(
    index: Index, expect_log: ExpectLog
) -> None:
    """Two threads that use one cursor end the process."""
    expect_log("runs 'SELECT 1' beside thread")
    database = index._database
    inside, beside = threading.Event(), threading.Event()

    def wait() -> int:
        inside.set()
        return int(beside.wait(10))

    database._connection.create_function("wait", 0, wait)

    def run() -> None:
        with index.transaction():
            assert database.row_within("SELECT wait()") == (1,)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(10)
    assert database._begin_statement("SELECT 1") is not database._writing
    beside.set()
    thread.join()
