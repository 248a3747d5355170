"""What the core has published is what the index holds, after every call and every failure."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fs.calls import DIRECTORY, FILE, ME, SYMLINK
from tests.support.checked_cache import CheckedCache
from tests.support.volumes import FakeClock, make_tiers, volume_settings
from tierfs.common.errors import FsError
from tierfs.common.metrics import Metrics
from tierfs.common.osio import Os
from tierfs.fs.attributes import Changes
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.lookup_counts import LookupCounter, RouterPorts
from tierfs.fs.volume import Volume, format_volume, open_volume
from tierfs.metadata.cache_updater import ABSENT
from tierfs.metadata.dentries import LAST_PAGE
from tierfs.metadata.inodes import ROOT

P = ParamSpec("P")
T = TypeVar("T")

NAMES = [b"a", b"b", b"c"]
MODES = [FILE, DIRECTORY, SYMLINK]
XATTRS = [b"user.a", b"user.b", b"system.posix_acl_default"]
ACL = bytes.fromhex("02000000 01000700ffffffff 04000500ffffffff 20000500ffffffff")
"""u::rwx,g::r-x,o::r-x"""

names = st.sampled_from(NAMES)
places = st.integers(0, 10)


class FailingCommits(Os):
    """Fails a commit that it was told to, before it is made or when it has been made."""

    def __init__(self) -> None:
        self.fails: str | None = None

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        moment, self.fails = (self.fails, None) if label == "index.commit" else (None, self.fails)
        if moment == "before":
            raise OSError(errno.EIO, "before")
        result = function(*args, **kwargs)
        if moment == "after":
            raise OSError(errno.EIO, "after")
        return result


class Opened:
    """A fresh volume in ``home`` with a metadata cache that is compared."""

    def __init__(self, home: Path) -> None:
        self.os = FailingCommits()
        self.cache = CheckedCache()
        chosen = volume_settings(home)
        make_tiers(chosen)
        format_volume(chosen)
        self.volume: Volume = open_volume(
            chosen,
            metrics=Metrics(),
            os_=self.os,
            clock=FakeClock().tick,
            make_ports=lambda _heads, _objects: RouterPorts(self.cache, LookupCounter()),
        )
        self.cache.index = self.volume.index

    @property
    def fs(self) -> FileSystem:
        return self.volume.fs

    def inodes(self) -> list[int]:
        """The numbers of all inodes, in their order."""
        rows = self.volume.index._database.rows("SELECT ino FROM inode ORDER BY ino")
        return [ino for (ino,) in rows]

    def entries(self) -> list[tuple[int, bytes]]:
        """Every directory's number with each of its names."""
        rows = self.volume.index._database.rows("SELECT parent, name FROM entry ORDER BY cookie")
        return [(parent, name) for parent, name in rows]


@pytest.fixture
def opened(home: Path) -> Iterator[Opened]:
    made = Opened(home / "volume")
    yield made
    made.volume.close()


class Machine(RuleBasedStateMachine):
    """Every kind of change and read, on few names, with failures and evictions between."""

    home: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.home, ignore_errors=True)
        self.opened = Opened(self.home)
        self.fs = self.opened.fs

    def teardown(self) -> None:
        self.opened.os.fails = None
        self.opened.volume.close()

    def ino(self, place: int) -> int:
        known = self.opened.inodes()
        return known[place % len(known)]

    def directory(self, place: int) -> int:
        known = [
            ino for ino in self.opened.inodes() if stat.S_ISDIR(self.fs.attributes.get(ino).mode)
        ]
        return known[place % len(known)]

    def entry(self, place: int) -> tuple[int, bytes]:
        known = self.opened.entries() or [(ROOT, b"none")]
        return known[place % len(known)]

    @rule(place=places, name=names, mode=st.sampled_from(MODES))
    def make(self, place: int, name: bytes, mode: int) -> None:
        target = b"target" if stat.S_ISLNK(mode) else None
        with suppress(FsError, OSError):
            self.fs.names.make(self.directory(place), name, mode, ME, target=target)

    @rule(place=places, name=names)
    def lookup(self, place: int, name: bytes) -> None:
        with suppress(FsError):
            self.fs.names.forget(self.fs.names.lookup(self.directory(place), name).ino)

    @rule(place=places, name=names, linked=places)
    def link(self, place: int, name: bytes, linked: int) -> None:
        with suppress(FsError, OSError):
            self.fs.names.link(self.ino(linked), self.directory(place), name)

    @rule(place=places)
    def unlink(self, place: int) -> None:
        parent, name = self.entry(place)
        for remove in (self.fs.names.unlink, self.fs.names.rmdir):
            with suppress(FsError, OSError):
                remove(parent, name)

    @rule(place=places, other=places, new=names, flags=st.sampled_from([0, 1, 2, 4]))
    def rename(self, place: int, other: int, new: bytes, flags: int) -> None:
        with suppress(FsError, OSError):
            self.fs.names.rename(*self.entry(place), self.directory(other), new, flags)

    @rule(place=places, other=places)
    def replace(self, place: int, other: int) -> None:
        with suppress(FsError, OSError):
            self.fs.names.rename(*self.entry(place), *self.entry(other))

    @rule(place=places, size=st.sampled_from([0, 1, 5000]))
    def write(self, place: int, size: int) -> None:
        with suppress(FsError, OSError):
            self.fs.data.write(self.ino(place), size, b"x" * 100)

    @rule(place=places, size=st.sampled_from([None, 0, 7000]), mode=st.sampled_from([None, 0o640]))
    def set(self, place: int, size: int | None, mode: int | None) -> None:
        with suppress(FsError, OSError):
            self.fs.attributes.set(self.ino(place), Changes(size=size, mode=mode))

    @rule(place=places, name=st.sampled_from(XATTRS), value=st.sampled_from([ACL, b"v" * 9000]))
    def set_xattr(self, place: int, name: bytes, value: bytes) -> None:
        with suppress(FsError, OSError):
            self.fs.xattrs.set(self.ino(place), name, value)

    @rule(place=places, name=st.sampled_from(XATTRS), read=st.booleans())
    def get_or_remove_xattr(self, place: int, name: bytes, *, read: bool) -> None:
        with suppress(FsError, OSError):
            (self.fs.xattrs.get if read else self.fs.xattrs.remove)(self.ino(place), name)

    @rule(place=places, cookie=st.integers(0, 2))
    def list(self, place: int, cookie: int) -> None:
        with suppress(FsError):
            self.fs.listing.fill(self.directory(place), cookie)
            sorted(entry.name for entry in self.fs.listing.after(self.directory(place)))

    @rule()
    def ask_for_everything(self) -> None:
        """Whatever changes from here on without a word is still in the cache."""
        for ino in self.opened.inodes():
            with suppress(FsError):
                self.fs.xattrs.get(ino, b"user.a")
        for directory in {self.directory(place) for place in range(10)}:
            self.fs.listing.fill(directory, 0)
            for name in NAMES:
                with suppress(FsError):
                    self.fs.names.forget(self.fs.names.lookup(directory, name).ino)

    @rule(place=places)
    def publish(self, place: int) -> None:
        for _ in range(8):
            self.fs.cache_fill.missed_in(self.directory(place))
        while not self.fs.cache_fill.idle:
            self.fs.cache_fill.fill()

    @rule()
    def forget(self) -> None:
        for ino in self.opened.inodes():
            if count := self.fs.lookup_counts.count(ino):
                self.fs.names.forget(ino, count)
        with suppress(FsError, OSError):
            self.fs.reclaimer.drain()

    @rule(number=st.integers(0, 1000))
    def evict(self, number: int) -> None:
        self.opened.cache.evict(number)

    @precondition(lambda self: self.opened.os.fails is None)
    @rule(moment=st.sampled_from(["before", "after"]))
    def fail_next_commit(self, moment: str) -> None:
        self.opened.os.fails = moment

    @invariant()
    def the_cache_is_the_index(self) -> None:
        self.opened.cache.check(self.opened.volume.index)


def test_the_cache_always_equals_the_index(home: Path) -> None:
    run_state_machine_as_test(
        type("MachineAt", (Machine,), {"home": home / "machine"}),
        settings=settings(
            max_examples=int(os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES", "60")),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_new_directory_is_known_to_be_empty(opened: Opened) -> None:
    made = opened.fs.names.make(ROOT, b"d", DIRECTORY, ME)
    assert opened.cache.lookup(made.ino, b"any") == ABSENT
    assert opened.cache.xattrs[made.ino] == []


def test_a_new_file_is_known_to_have_no_attributes_but_those_inherited(opened: Opened) -> None:
    opened.fs.xattrs.set(ROOT, b"system.posix_acl_default", ACL)
    file = opened.fs.names.make(ROOT, b"f", FILE, ME)
    directory = opened.fs.names.make(ROOT, b"d", DIRECTORY, ME)
    assert opened.cache.xattrs[file.ino] == []
    assert opened.cache.xattrs[directory.ino] == [(b"system.posix_acl_default", ACL)]


def test_what_a_lookup_finds_is_published_with_its_attributes(opened: Opened) -> None:
    made = opened.fs.names.make(ROOT, b"f", FILE, ME)
    opened.fs.xattrs.set(made.ino, b"user.a", b"1")
    opened.cache.clear()
    opened.fs.names.lookup(ROOT, b"f")
    assert opened.cache.lookup(ROOT, b"f") == made.ino
    assert opened.cache.inodes[ROOT] == opened.fs.attributes.get(ROOT)
    assert opened.cache.xattrs[made.ino] == [(b"user.a", b"1")]


def test_a_name_that_is_not_found_is_published_as_absent(opened: Opened) -> None:
    with suppress(FsError):
        opened.fs.names.lookup(ROOT, b"none")
    assert opened.cache.lookup(ROOT, b"none") == ABSENT


@pytest.mark.parametrize("moved", [False, True])
def test_a_renamed_file_is_found_where_nothing_was(opened: Opened, *, moved: bool) -> None:
    target = opened.fs.names.make(ROOT, b"d", DIRECTORY, ME).ino if moved else ROOT
    ino = opened.fs.names.make(ROOT, b"a", FILE, ME).ino
    with suppress(FsError):
        opened.fs.names.lookup(target, b"b")
    opened.fs.names.rename(ROOT, b"a", target, b"b")
    assert opened.cache.lookup(ROOT, b"a") == ABSENT
    assert opened.cache.lookup(target, b"b") == ino
    opened.cache.check(opened.volume.index)


def test_the_first_attribute_of_a_file_is_published_when_it_is_set(opened: Opened) -> None:
    made = opened.fs.names.make(ROOT, b"f", FILE, ME)
    opened.fs.xattrs.set(made.ino, b"user.a", b"1")
    assert opened.cache.xattrs[made.ino] == [(b"user.a", b"1")]


def test_a_page_of_a_listing_says_whether_others_follow(opened: Opened) -> None:
    for number in range(LAST_PAGE + 3):
        opened.fs.names.make(ROOT, b"%d" % number, FILE, ME)
    opened.fs.listing.fill(ROOT, 0)
    rows, end = opened.cache.listings[ROOT, 0]
    assert (len(rows), end) == (2 + LAST_PAGE, False)
    last = rows[-1][1]
    opened.fs.listing.fill(ROOT, last)
    rest, end = opened.cache.listings[ROOT, last]
    assert (len(rest), end) == (3, True)


def test_many_attributes_are_not_read_for_a_lookup(opened: Opened) -> None:
    made = opened.fs.names.make(ROOT, b"f", FILE, ME)
    opened.fs.xattrs.set(made.ino, b"user.a", b"x" * 9000)
    opened.fs.names.lookup(ROOT, b"f")
    assert made.ino not in opened.cache.xattrs


def test_nothing_read_inside_a_transaction_is_published(opened: Opened) -> None:
    made = opened.fs.names.make(ROOT, b"f", FILE, ME)
    index = opened.volume.index
    opened.cache.clear()
    with suppress(ZeroDivisionError), index.transaction():
        index.inodes.update(made._replace(size=5))
        assert index.dentries.find(ROOT, b"f") == made._replace(size=5)
        assert index.inodes.get(made.ino).size == 5
        assert opened.cache.inodes == {}
        raise ZeroDivisionError
    assert opened.cache.inodes == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_failed_commit_leaves_nothing_behind_that_is_not_so(opened: Opened, moment: str) -> None:
    opened.os.fails = moment
    with pytest.raises(OSError, match=moment):
        opened.fs.names.make(ROOT, b"f", FILE, ME)
    opened.cache.check(opened.volume.index)
    assert opened.cache.lookup(ROOT, b"f") is None


def test_a_cache_that_fails_is_cleared(opened: Opened) -> None:
    opened.fs.names.make(ROOT, b"a", FILE, ME)
    for calls in range(8):
        opened.cache.fail_at = opened.cache.calls + calls
        with suppress(MemoryError):
            opened.fs.names.make(ROOT, b"f%d" % calls, FILE, ME)
        opened.cache.check(opened.volume.index)
    opened.cache.fail_at = None


def test_threads_publish_nothing_old(opened: Opened) -> None:
    """Each call of the cache is compared with the index while it is made: under the lock."""
    problems: list[BaseException] = []
    stop = threading.Event()

    def loop(step: Callable[[int], object]) -> None:
        number = 0
        try:
            while not stop.is_set():
                with suppress(FsError):
                    step(number)
                number += 1
        except BaseException as exc:  # noqa: BLE001 - told by the main thread
            problems.append(exc)

    fs = opened.fs

    def listed(_number: int) -> None:
        fs.listing.fill(ROOT, 0)
        list(fs.listing.after(ROOT))

    steps: list[Callable[[int], object]] = [
        lambda number: fs.names.make(ROOT, b"%d" % (number % 50), FILE, ME),
        lambda number: fs.names.unlink(ROOT, b"%d" % (number % 47)),
        lambda number: fs.names.rename(ROOT, b"%d" % (number % 41), ROOT, b"%d" % (number % 43)),
        lambda number: fs.names.lookup(ROOT, b"%d" % (number % 53)),
        listed,
        lambda _number: opened.volume.index.dentries.fill_cache(ROOT, b"", 1000),
    ]
    threads = [threading.Thread(target=loop, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    stop.wait(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    opened.cache.check(opened.volume.index)
