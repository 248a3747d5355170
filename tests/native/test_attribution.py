"""Which thread waited for what, where and how long, while somebody watches."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.metadata.rows import inode
from tests.native.functions import Functions
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn, Request, getattr_in
from tierfs.metadata.inodes import ROOT
from tierfs.native._router import ANSWERED, TIERS

OURS = os.getpid()
SESSION = os.getsid(0)
COMM = Path("/proc/self/comm").read_bytes().strip()
PREFIX = 4096


class Row(NamedTuple):
    """``Attributed``, with names."""

    thread: int
    process: int
    session: int
    name: bytes
    kind: str
    tier: str
    directory: int
    file: int
    requests: int
    bytes: int
    seconds: float
    waited: float
    began: float
    ended: float


def attributed(rig: Rig) -> list[Row]:
    """After the last reply, which may be a moment older than its row."""
    rig.router.stop()
    return [
        Row(*row[:4], ANSWERED[row[4]], TIERS[row[5]], *row[6:])  # type: ignore[arg-type]
        for row in rig.router.attributed()
    ]


def send(rig: Rig, opcode: int, nodeid: int, body: bytes = b"", *, thread: int = OURS) -> None:
    rig.kernel.unique += 2
    rig.kernel.send(Request(opcode, rig.kernel.unique, nodeid, body, pid=thread).pack())


def ask(rig: Rig, opcode: int, nodeid: int, body: bytes = b"", *, thread: int = OURS) -> None:
    send(rig, opcode, nodeid, body, thread=thread)
    rig.kernel.reply()


def put_file(rig: Rig, ino: int, directory: int, size: int) -> None:
    rig.router.put_inode(inode(ino, size=size, prefix=PREFIX, parent=directory))
    rig.router.put_dentry(directory, b"%d" % ino, ino)
    rig.put_object(rig.heads, ino, bytes(min(size, PREFIX)))
    rig.put_object(rig.objects, ino, bytes(size))


def test_nothing_is_attributed_while_nobody_watches(rig: Rig) -> None:
    put_file(rig, 7, ROOT, 10)
    ask(rig, Op.GETATTR, 7, getattr_in())
    rig.router.watch(0.05)
    time.sleep(0.06)
    ask(rig, Op.GETATTR, 7, getattr_in())
    assert attributed(rig) == []


def test_a_watcher_says_for_how_long(rig: Rig) -> None:
    for wrong in (-1, 3601, float("nan")):
        with pytest.raises(ValueError, match="seconds must be from 0 to 3600"):
            rig.router.watch(wrong)
    rig.router.watch(60)
    rig.router.watch(0)  # another one, who needs it no longer
    put_file(rig, 7, ROOT, 10)
    ask(rig, Op.GETATTR, 7, getattr_in())
    assert len(attributed(rig)) == 1


def test_who_where_and_for_what(rig: Rig) -> None:
    before = time.monotonic()
    rig.router.watch(60)
    put_file(rig, 7, 5, 3 * PREFIX)
    ask(rig, Op.LOOKUP, 5, b"7\0")
    for _ in range(3):
        ask(rig, Op.GETATTR, 7, getattr_in())
    ask(rig, Op.READ, 7, ReadIn(0, 0, PREFIX).pack())
    ask(rig, Op.READ, 7, ReadIn(0, PREFIX, 10 * PREFIX).pack())
    ask(rig, Op.READ, 7, ReadIn(0, PREFIX - 1, 2).pack())
    ask(rig, Op.READ, 7, ReadIn(0, 3 * PREFIX, 100).pack())
    rows = attributed(rig)
    assert all(before <= row.began < row.ended <= time.monotonic() for row in rows)
    assert {row[:4] for row in rows} == {(OURS, OURS, SESSION, COMM)}
    assert {row[4:10] for row in rows} == {
        ("lookup", "memory", 5, 0, 1, 0),
        ("getattr", "memory", 5, 0, 3, 0),
        ("read", "memory", 5, 0, 1, 0),  # at the end of the file
        ("read", "flash", 5, 0, 1, PREFIX),
        ("read", "disk", 5, 7, 2, 2 * PREFIX + 2),
    }
    assert all(0 < row.waited <= row.seconds < 60 for row in rows)


def test_rows_are_taken_once(rig: Rig) -> None:
    rig.router.watch(60)
    put_file(rig, 7, ROOT, 10)
    ask(rig, Op.GETATTR, 7, getattr_in())
    assert len(attributed(rig)) == 1
    assert rig.router.attributed() == []


def test_a_thread_belongs_to_its_process(rig: Rig) -> None:
    rig.router.watch(60)
    put_file(rig, 7, ROOT, 10)
    told, over = threading.Event(), threading.Event()
    numbers: list[int] = []

    def live() -> None:
        numbers.append(threading.get_native_id())
        told.set()
        over.wait(30)

    thread = threading.Thread(target=live)
    thread.start()
    told.wait(30)
    ask(rig, Op.GETATTR, 7, getattr_in(), thread=numbers[0])
    rows = attributed(rig)
    over.set()
    thread.join()
    assert numbers[0] != OURS
    assert [row[:4] for row in rows] == [(numbers[0], OURS, SESSION, COMM)]


def test_threads_of_other_namespaces_and_of_the_past_have_no_name(rig: Rig) -> None:
    rig.router.watch(60)
    put_file(rig, 7, ROOT, 10)
    past = os.fork()
    if not past:
        os._exit(0)
    os.waitpid(past, 0)
    for thread in (0, past):
        ask(rig, Op.GETATTR, 7, getattr_in(), thread=thread)
    assert {row[:4] for row in attributed(rig)} == {(0, 0, 0, b""), (past, past, 0, b"")}


def test_where_the_directory_is_not_known_the_file_is_told(rig: Rig) -> None:
    rig.router.watch(60)
    rig.router.put_inode(inode(7))
    ask(rig, Op.GETATTR, 7, getattr_in())
    assert [row[4:8] for row in attributed(rig)] == [("getattr", "memory", 0, 7)]


class TestUpcalls:
    """What needs Python waits for the index, if not for bytes."""

    @pytest.fixture
    def functions(self) -> Functions:
        return Functions("setattr", "statfs", "unlink", "read")

    def test_they_wait_for_the_index(self, rig: Rig, functions: Functions) -> None:
        rig.router.watch(60)
        send(rig, Op.UNLINK, 5, b"name\0")
        functions.next().answer()
        rig.kernel.reply()
        assert [row[4:8] for row in attributed(rig)] == [("unlink", "index", 5, 0)]

    def test_those_that_fail_as_well(self, rig: Rig, functions: Functions) -> None:
        rig.router.watch(60)
        send(rig, Op.UNLINK, 5, b"name\0")
        functions.next().answer(FileNotFoundError(errno.ENOENT, "gone"))
        rig.kernel.reply()
        assert [row[4:8] for row in attributed(rig)] == [("unlink", "index", 5, 0)]

    def test_a_read_waits_for_the_tier_that_has_the_bytes(
        self, rig: Rig, functions: Functions
    ) -> None:
        rig.router.watch(60)
        put_file(rig, 7, 5, 2 * PREFIX)
        os.truncate(rig.put_object(rig.objects, 7, b""), 0)
        send(rig, Op.READ, 7, ReadIn(0, PREFIX, 100).pack())
        functions.next().answer(bytes(100))
        rig.kernel.reply()
        assert [row[4:10] for row in attributed(rig)] == [("read", "disk", 5, 7, 1, 100)]

    def test_requests_at_once_count_once_as_waiting(self, rig: Rig, functions: Functions) -> None:
        rig.router.watch(60)
        began = time.monotonic()
        for _ in range(4):
            send(rig, Op.STATFS, ROOT)
        calls = [functions.next() for _ in range(4)]
        time.sleep(0.2)
        for call in calls:
            call.answer((0,) * 8)
        for _ in calls:
            rig.kernel.reply()
        took = time.monotonic() - began
        (row,) = attributed(rig)
        assert row.requests == 4
        assert row.seconds >= 4 * 0.2
        assert 0.2 <= row.waited <= took


def test_more_directories_than_rows_lose_no_request(rig: Rig) -> None:
    rig.router.watch(60)
    for directory in range(2, 4000):
        rig.router.put_inode(inode(directory + 10_000))
        rig.router.put_dentry(directory, b"n", directory + 10_000)
        ask(rig, Op.LOOKUP, directory, b"n\0")
    rows = attributed(rig)
    assert len(rows) <= 2048
    assert sum(row.requests for row in rows) == 3998
    assert {row.process for row in rows} == {OURS}
    (rest,) = (row for row in rows if not row.directory)
    assert rest.requests > 1000


def test_more_threads_than_rows_lose_no_request(rig: Rig) -> None:
    rig.router.watch(60)
    put_file(rig, 7, ROOT, 10)
    threads = range(1 << 24, (1 << 24) + 16 * 3000, 16)  # of one shard; there are none of them
    for thread in threads:
        ask(rig, Op.GETATTR, 7, getattr_in(), thread=thread)
    rows = attributed(rig)
    assert len(rows) <= 2048
    assert sum(row.requests for row in rows) == len(threads)
    (rest,) = (row for row in rows if not row.process)
    assert (rest.name, rest.directory) == (b"", 0)
