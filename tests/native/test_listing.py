"""READDIRPLUS: pages say in which order, the table what there is."""

from __future__ import annotations

import errno
import stat

import pytest

from tests.metadata.rows import FILE, inode
from tests.native.functions import Call, Functions
from tests.native.rig import MAX_WRITE, MEMORY, Rig
from tests.native.wire import Line, Op, ReadIn, Reply, listing
from tierfs.native._router import ANSWERED

DIRECTORY = 50
MODE = stat.S_IFDIR | 0o755
DOTS = [(b".", 1, DIRECTORY, MODE), (b"..", 2, 1, MODE)]
END, MORE = True, False


@pytest.fixture
def functions() -> Functions:
    """Python is asked for pages that are missing."""
    return Functions("readdir")


def rows(inos: range) -> list[tuple[bytes, int, int, int]]:
    return [(b"%d" % ino, 100 + ino, ino, FILE) for ino in inos]


def cache_rows(rig: Rig, inos: range) -> None:
    for ino in inos:
        rig.router.put_inode(inode(ino, size=ino))
        rig.router.put_dentry(DIRECTORY, b"%d" % ino, ino)


def listed(rig: Rig, cookie: int, size: int = 4096) -> list[Line]:
    reply = rig.kernel.ask(Op.READDIRPLUS, DIRECTORY, ReadIn(0, cookie, size).pack())
    assert reply.error == 0
    assert len(reply.body) <= size
    return listing(reply.body)


def asked(rig: Rig, cookie: int, size: int = 4096) -> tuple[int, Call]:
    """Send a READDIRPLUS that must be asked for; its number, and the call."""
    unique = rig.kernel.request(Op.READDIRPLUS, DIRECTORY, ReadIn(0, cookie, size).pack())
    return unique, called(rig, cookie, size, again=False)


def called(rig: Rig, cookie: int, size: int = 4096, *, again: bool) -> Call:
    assert isinstance(rig.functions, Functions)
    call = rig.functions.next()
    assert (call.name, call.arguments) == ("readdir", (DIRECTORY, cookie, size))
    assert call.keywords == {"again": again}
    return call


def test_a_whole_directory(rig: Rig) -> None:
    cache_rows(rig, range(60, 63))
    rig.router.put_listing(DIRECTORY, 0, DOTS + rows(range(60, 63)), END)
    lines = listed(rig, 0)
    assert [line.name for line in lines] == [b".", b"..", b"60", b"61", b"62"]
    assert [line.cookie for line in lines] == [1, 2, 160, 161, 162]
    assert [line.ino for line in lines] == [DIRECTORY, 1, 60, 61, 62]
    assert [line.type for line in lines] == [4, 4, 8, 8, 8]
    assert [line.entry.nodeid for line in lines] == [0, 0, 60, 61, 62]
    assert [line.entry.attr.size for line in lines[2:]] == [60, 61, 62]
    assert [rig.router.lookup_count(ino) for ino in (1, DIRECTORY, 60, 61, 62)] == [0, 0, 1, 1, 1]
    assert listed(rig, 162) == []
    rig.router.stop()
    assert rig.router.counters().answered[ANSWERED.index("readdir")].ok == 2


def test_no_page_outlives_a_change_of_its_directory(rig: Rig) -> None:
    cache_rows(rig, range(60, 63))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 61)), False)  # noqa: FBT003
    rig.router.put_listing(DIRECTORY, 160, rows(range(61, 63)), END)
    rig.router.drop_listing(DIRECTORY + 1)
    assert [line.name for line in listed(rig, 160)] == [b"61", b"62"]
    rig.router.drop_listing(DIRECTORY)
    for cookie in (0, 160):
        _, call = asked(rig, cookie)
        call.answer(OSError(errno.EIO, "unreadable"))
        assert rig.kernel.reply().error == errno.EIO


def test_what_is_cached_when_asked_is_tried_again(rig: Rig) -> None:
    unique, call = asked(rig, 0)
    cache_rows(rig, range(60, 61))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 61)), END)
    call.answer()
    reply = rig.kernel.reply()
    assert (reply.unique, [line.name for line in listing(reply.body)]) == (unique, [b"60"])


def test_python_lists_what_cannot_be_cached(rig: Rig) -> None:
    """As many lines as there is room for; each but the dots is told with a reference."""
    unique, call = asked(rig, 0, 500)
    call.answer()
    lines = [(name, cookie, inode(ino, mode=mode)) for name, cookie, ino, mode in DOTS]
    lines += [(b"%d" % ino, 100 + ino, inode(ino, size=ino)) for ino in range(60, 70)]
    called(rig, 0, 500, again=True).answer(lines)
    reply = rig.kernel.reply()
    found = listing(reply.body)
    assert (reply.unique, reply.error) == (unique, 0)
    assert [line.name for line in found] == [b".", b"..", b"60"]
    assert [line.entry.nodeid for line in found] == [0, 0, 60]
    assert (found[-1].cookie, found[-1].entry.attr.size) == (160, 60)
    assert [rig.router.lookup_count(ino) for ino in (1, DIRECTORY, 60, 61)] == [0, 0, 1, 0]


@pytest.mark.parametrize("wrong", [5, (), [5], [(b"n", 1)], [(b"", 1, inode(2))], [(b"n", 1, 2)]])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_listing_is_an_io_error(rig: Rig, wrong: object) -> None:
    unique, call = asked(rig, 0)
    call.answer()
    called(rig, 0, again=True).answer(wrong)
    assert rig.kernel.reply() == Reply(unique, errno.EIO, b"")


def test_an_error_is_passed_back(rig: Rig) -> None:
    unique, call = asked(rig, 0)
    call.answer(OSError(errno.ENOTDIR, "no directory"))
    assert rig.kernel.reply() == Reply(unique, errno.ENOTDIR, b"")


def test_a_reply_holds_whole_records(rig: Rig) -> None:
    cache_rows(rig, range(1000, 1100))
    rig.router.put_listing(DIRECTORY, 0, rows(range(1000, 1100)), END)
    names, cookie = [], 0
    while lines := listed(rig, cookie, 1000):
        assert 0 < len(lines) < 7
        names += [line.name for line in lines]
        cookie = lines[-1].cookie
    assert names == [b"%d" % ino for ino in range(1000, 1100)]
    assert rig.router.counters().known_inodes == 100


def test_too_little_room_for_one_record_is_not_the_end(rig: Rig) -> None:
    cache_rows(rig, range(60, 61))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 61)), END)
    unique, call = asked(rig, 0, 100)
    call.answer(OSError(errno.EINVAL, "no room"))
    assert rig.kernel.reply() == Reply(unique, errno.EINVAL, b"")
    assert rig.router.lookup_count(60) == 0


def test_names_that_went_are_left_out(rig: Rig) -> None:
    cache_rows(rig, range(60, 65))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 65)), END)
    rig.router.put_dentry(DIRECTORY, b"60", 0)
    rig.router.put_dentry(DIRECTORY, b"64", 0)
    rig.router.put_inode(inode(62, size=99))
    assert [(line.name, line.entry.attr.size) for line in listed(rig, 0)] == [
        (b"61", 61),
        (b"62", 99),
        (b"63", 63),
    ]


def test_names_that_only_python_knows_are_asked_for_when_they_are_reached(rig: Rig) -> None:
    cache_rows(rig, range(60, 65))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 65)), END)
    rig.router.drop_inode(62)
    assert [line.name for line in listed(rig, 0)] == [b"60", b"61"]
    _, call = asked(rig, 161)
    cache_rows(rig, range(62, 63))
    call.answer()
    reply = rig.kernel.reply()
    assert [line.name for line in listing(reply.body)] == [b"62", b"63", b"64"]


def test_pages_follow_each_other(rig: Rig) -> None:
    cache_rows(rig, range(60, 66))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 63)), MORE)
    assert [line.name for line in listed(rig, 0)] == [b"60", b"61", b"62"]
    _, call = asked(rig, 162)
    rig.router.put_listing(DIRECTORY, 162, rows(range(63, 66)), END)
    call.answer()
    reply = rig.kernel.reply()
    assert [line.name for line in listing(reply.body)] == [b"63", b"64", b"65"]
    assert listed(rig, 165) == []


def test_an_empty_page_is_the_end_only_where_it_says_so(rig: Rig) -> None:
    rig.router.put_listing(DIRECTORY, 0, [], END)
    assert listed(rig, 0) == []
    rig.router.put_listing(DIRECTORY, 0, [], MORE)
    _, call = asked(rig, 0)
    call.answer(OSError(errno.EIO, "unreadable"))
    rig.kernel.reply()


def test_a_cookie_that_is_on_no_page(rig: Rig) -> None:
    cache_rows(rig, range(60, 63))
    rig.router.put_listing(DIRECTORY, 0, rows(range(60, 63)), END)
    for cookie in (1, 163, 2**64 - 1):
        _, call = asked(rig, cookie)
        call.answer(OSError(errno.EIO, "unreadable"))
        rig.kernel.reply()


def test_directories_that_nobody_lists_make_way(rig: Rig) -> None:
    """An eighth of the memory is for listings, here 1 MiB: about 20 such pages."""
    body = ReadIn(0, 0, 4096).pack()
    rig.router.put_listing(900, 0, [], END)
    for directory in range(1000, 1100):
        page = [(b"%0200d" % number, 100 + number, number, FILE) for number in range(1, 200)]
        rig.router.put_listing(directory, 0, page, END)
        assert rig.kernel.ask(Op.READDIRPLUS, 900, body).body == b""
    assert rig.router.counters().memory < MEMORY
    unique = rig.kernel.request(Op.READDIRPLUS, 1000, body)
    assert isinstance(rig.functions, Functions)
    call = rig.functions.next()
    assert call.arguments[0] == 1000
    call.answer(OSError(errno.EIO, "unreadable"))
    assert rig.kernel.reply().unique == unique


def test_a_thousand_directories_are_listed_at_a_time(rig: Rig) -> None:
    for directory in range(1000, 2000):
        rig.router.put_listing(directory, 0, [], END)
    for directory in range(1000, 2000):
        assert rig.kernel.ask(Op.READDIRPLUS, directory, ReadIn(0, 0, 4096).pack()).body == b""


@pytest.mark.parametrize(
    "wrong", [[(b"", 1, 1, 1)], [(b"n" * 256, 1, 1, 1)], [(b"n", 1, 1)], [5], [("n", 1, 1, 1)]]
)
def test_wrong_rows_are_refused(rig: Rig, wrong: list[tuple[bytes, int, int, int]]) -> None:
    with pytest.raises((TypeError, ValueError)):
        rig.router.put_listing(DIRECTORY, 0, wrong, END)
    with pytest.raises(TypeError):
        rig.router.put_listing(DIRECTORY, 0, tuple(wrong), END)  # type: ignore[arg-type]


@pytest.mark.parametrize("opcode", [Op.READ, Op.READDIRPLUS])
def test_more_than_was_agreed_on_is_refused(rig: Rig, opcode: int) -> None:
    for size in (2**32 - 1, MAX_WRITE + 4097):
        reply = rig.kernel.ask(opcode, DIRECTORY, ReadIn(0, 0, size).pack())
        assert (reply.error, reply.body) == (errno.EINVAL, b"")


SERIAL_END = 2**62
"""Cookies of entries lie a little below it."""


def test_cookies_bear_the_count_of_changes(rig: Rig) -> None:
    """A cache of the kernel from before a change does not hold where a listing of now goes on."""
    cache_rows(rig, range(60, 62))
    page = [(b"60", SERIAL_END - 2, 60, FILE), (b"61", SERIAL_END - 1, 61, FILE)]
    seen = []
    for _ in range(2):
        rig.router.put_listing(DIRECTORY, 0, page, END)
        seen.append([line.cookie for line in listed(rig, 0)])
        rig.router.drop_listing(DIRECTORY)
    assert not set(seen[0]) & set(seen[1])
    rig.router.put_listing(DIRECTORY, 0, page, END)
    for first, last in seen:
        assert [line.name for line in listed(rig, first)] == [b"61"]
        assert listed(rig, last) == []
