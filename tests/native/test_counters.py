"""Heat and counters, and the constants that C has as well as Python."""

from __future__ import annotations

import errno
import time
from pathlib import Path

from tests.metadata.rows import inode
from tests.native.functions import Functions
from tests.native.rig import Rig
from tests.native.wire import Op, ReadIn, forget_in, getattr_in, getxattr_in
from tierfs.common.metrics import LATENCY_BUCKETS
from tierfs.daemon.resent import RESENT
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.native import _router

HEAT_ROWS = 65536
MOST = HEAT_ROWS * 3 // 4


def test_constants_agree() -> None:
    assert _router.BUCKETS == LATENCY_BUCKETS
    assert len(Inode._fields) == 18
    assert Inode._fields.index("prefix") == 10


def test_each_kind_of_answer_is_counted(rig: Rig) -> None:
    rig.router.put_inode(inode(7))
    rig.router.put_dentry(ROOT, b"n", 7)
    rig.router.put_xattrs(7, [])
    rig.router.put_statfs((0,) * 8, 60.0)
    before = dict(zip(_router.ANSWERED, rig.router.counters().answered, strict=True))
    assert not any(sum(each[:4]) for each in before.values())
    rig.kernel.ask(Op.LOOKUP, ROOT, b"n\0")
    rig.kernel.request(Op.FORGET, 7, forget_in(1))
    rig.kernel.ask(Op.GETATTR, 7, getattr_in())
    rig.kernel.ask(Op.GETXATTR, 7, getxattr_in(9, b"user.no"))
    rig.kernel.ask(Op.LISTXATTR, 7, getxattr_in(0))
    rig.kernel.ask(Op.FLUSH, 7)
    rig.kernel.ask(Op.READ, 7, ReadIn(0, 0, 100).pack())
    rig.kernel.ask(Op.STATFS, ROOT)
    rig.router.stop()  # counted after the reply
    after = dict(zip(_router.ANSWERED, rig.router.counters().answered, strict=True))
    for name in ("lookup", "forget", "getattr", "listxattr", "open", "read", "statfs"):
        assert (name, *after[name][:4]) == (name, 1, 0, 0, 0)
    assert after["getxattr"][:4] == (0, 1, 0, 0)
    for each in after.values():
        assert len(each.buckets) == len(LATENCY_BUCKETS) + 1
        assert sum(each.buckets) == sum(each[:4])
        assert 0 <= each.seconds < 60


def test_requests_that_come_again_are_counted(rig: Rig) -> None:
    rig.router.put_statfs((0,) * 8, 60.0)
    rig.kernel.ask(Op.STATFS, ROOT)
    rig.kernel.unique |= RESENT
    rig.kernel.ask(Op.STATFS, ROOT)
    rig.router.stop()
    assert rig.router.counters().resent == 1


def test_misses_are_counted_apart(rig: Rig) -> None:
    before = rig.router.counters()
    for _ in range(5):
        rig.forwarded(Op.GETATTR, 7, getattr_in())
        rig.forwarded(Op.READ, 7, ReadIn(0, 0, 10).pack())
    after = rig.router.counters()
    assert after.to_python == before.to_python + 10
    assert after.answered == before.answered


def test_what_took_a_call_is_counted_where_it_belongs(scratch: Path) -> None:
    """A READ of which Python was asked where it is took as long as Python did."""
    functions = Functions("read")
    with Rig(scratch, workers=1, functions=functions) as rig:
        rig.initialise()
        rig.kernel.request(Op.READ, 7, ReadIn(0, 0, 100).pack())
        call = functions.next()
        time.sleep(0.06)
        rig.router.put_inode(inode(7))
        call.answer()
        rig.kernel.reply()
        rig.router.stop()
        read = rig.router.counters().answered[_router.ANSWERED.index("read")]
        assert sum(read.buckets[LATENCY_BUCKETS.index(0.05) + 1 :]) == 1
        assert read.seconds >= 0.05


def test_what_disk_threads_did_is_counted_after_the_end(slow_rig: Rig) -> None:
    slow_rig.put_object(slow_rig.objects, 7, bytes(10_000))
    slow_rig.router.put_inode(inode(7, size=10_000, prefix=0))
    for _ in range(10):
        slow_rig.kernel.ask(Op.READ, 7, ReadIn(0, 0, 10_000).pack())
    slow_rig.router.stop()
    counters = slow_rig.router.counters()
    assert counters.disk_bytes == 100_000
    assert counters.answered[_router.ANSWERED.index("read")].ok == 10


# -------- heat


def heat_up(rig: Rig, inos: range) -> None:
    for start in range(inos.start, inos.stop, 500):
        group = range(start, min(start + 500, inos.stop))
        for ino in group:
            rig.router.put_inode(inode(ino))
            rig.kernel.request(Op.READ, ino, ReadIn(0, 0, 100).pack())
        for _ in group:
            rig.kernel.reply()
    rig.kernel.ask(Op.FLUSH)


def test_heat_is_told_once(rig: Rig) -> None:
    rig.put_object(rig.heads, 7, bytes(1000))
    rig.router.put_inode(inode(7, size=1000))
    for _ in range(3):
        rig.kernel.ask(Op.READ, 7, ReadIn(0, 0, 700).pack())
    rig.kernel.ask(Op.FLUSH)
    rig.router.stop()
    assert rig.router.heat(10) == [(7, 3, 2100)]
    assert rig.router.heat(10) == []


def test_heat_comes_in_batches_and_nothing_is_lost(scratch: Path) -> None:
    with Rig(scratch, memory=64 << 20, workers=1) as rig:
        rig.initialise()
        expected = dict.fromkeys(range(1, 5001), 1)
        heat_up(rig, range(1, 5001))
        told: dict[int, int] = {}
        turn = 0
        while rows := rig.router.heat(1 + turn % 97):
            turn += 1
            for ino, reads, _ in rows:
                told[ino] = told.get(ino, 0) + reads
            if turn < 200:  # and more of them meanwhile
                again = 1 + turn * 23 % 5000
                heat_up(rig, range(again, again + 1))
                expected[again] += 1
        rig.kernel.ask(Op.FLUSH)
        for ino, reads, _ in rig.router.heat(10_000):
            told[ino] = told.get(ino, 0) + reads
        assert told == expected
        assert rig.router.counters().heat_lost == 0


def test_too_much_heat_is_counted_as_lost(scratch: Path) -> None:
    with Rig(scratch, memory=64 << 20, workers=1) as rig:
        rig.initialise()
        heat_up(rig, range(1, MOST + 1001))
        assert rig.router.counters().heat_lost == 1000
        assert rig.router.heat(0) == []
        assert len(rig.router.heat(100)) == 100
        assert len(rig.router.heat(2**60)) == MOST - 100
        assert rig.router.heat(2**60) == []


def test_a_read_that_the_disk_pool_cannot_serve_is_counted_as_python_s(tmp_path: Path) -> None:
    functions = Functions("read")
    with Rig(tmp_path, functions=functions) as rig:
        rig.router.put_inode(inode(7, size=10, prefix=0))
        rig.kernel.request(Op.READ, 7, ReadIn(0, 0, 10).pack())
        functions.next().answer(b"0123456789")
        assert rig.kernel.reply().body == b"0123456789"
        assert rig.router.counters().to_python == 1
    rig.forget()


def test_a_read_that_the_disk_pool_cannot_serve_is_forwarded_without_a_function(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path) as rig:
        rig.router.put_inode(inode(7, size=10, prefix=0))
        rig.forwarded(Op.READ, 7, ReadIn(0, 0, 10).pack())
        assert rig.router.counters().to_python == 1
    rig.forget()


def test_errors_are_counted_by_their_names(scratch: Path) -> None:
    functions = Functions("getxattr")
    with Rig(scratch, functions=functions) as rig:
        rig.router.put_inode(inode(7))
        rig.router.put_xattrs(7, [(b"user.a", b"long")])
        assert rig.kernel.ask(Op.GETXATTR, 7, getxattr_in(2, b"user.a")).error == errno.ERANGE
        assert rig.kernel.ask(Op.GETXATTR, 7, getxattr_in(9, b"user.b")).error == errno.ENODATA
        assert rig.kernel.ask(Op.READ, 7, bytes(3)).error == errno.EINVAL
        rig.router.drop_xattrs(7)
        rig.kernel.request(Op.GETXATTR, 7, getxattr_in(2, b"user.a"))
        functions.next().answer(b"long")
        assert rig.kernel.reply().error == errno.ERANGE
        rig.router.stop()  # counted after the reply
        found = dict(zip(_router.ANSWERED, rig.router.counters().answered, strict=True))
        assert found["getxattr"][:4] == (0, 1, 2, 0)
        assert found["read"][:4] == (0, 0, 0, 1)
    rig.forget()
