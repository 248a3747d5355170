"""Attributes asked for before a change are never those that the kernel keeps after it.

The program that asks is idle and shares a core with one that is busy: it takes over the reply of
its GETATTR late, when the change is made and the kernel has marked what it remembers as unknown.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.fixtures import MakeMount, both_ways

pytestmark = pytest.mark.alone

TURNS: Final = 2
CHANGES: Final = 15
"""In a turn. Before the kernel was told, one turn in three left something behind."""

PAUSE_S: Final = 0.002
AT_FDCWD: Final = -100
AT_STATX_FORCE_SYNC: Final = 0x2000
STATX_BASIC_STATS: Final = 0x7FF
_LIBC = ctypes.CDLL(None, use_errno=True)


class Shown(NamedTuple):
    """What statx(2) shows of an inode."""

    links: int
    ctime: tuple[int, int]
    mtime: tuple[int, int]


def shown(path: Path, flags: int = 0) -> Shown:
    """What the kernel has, or with AT_STATX_FORCE_SYNC what the daemon has."""
    found = ctypes.create_string_buffer(256)
    failed = _LIBC.statx(AT_FDCWD, os.fsencode(path), flags, STATX_BASIC_STATS, found)
    assert not failed
    (links,) = struct.unpack_from("I", found, 16)
    ctime, mtime = struct.unpack_from("qI", found, 96), struct.unpack_from("qI", found, 112)
    return Shown(links, ctime, mtime)


@contextmanager
def process(work: Callable[[], object]) -> Iterator[None]:
    """A child that does ``work`` again and again."""
    child = os.fork()
    if child == 0:
        while True:
            work()
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def busy(core: int) -> None:
    """Leave nearly nothing of a core to others."""
    os.sched_setaffinity(0, {core})
    until = time.perf_counter() + PAUSE_S
    while time.perf_counter() < until:
        pass
    time.sleep(PAUSE_S / 10)


def idly_asking(core: int, descriptor: int) -> Callable[[], object]:
    """fstat(2) with what is left of the core."""

    def ask() -> None:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while True:
            os.fstat(descriptor)

    return ask


class Scene:
    """A file with a mapping, and two directories."""

    def __init__(self, home: Path, stack: ExitStack, *, sparse: bool) -> None:
        self.file, self.moved = home / "from" / "file", home / "to" / "file"
        for directory in (self.file.parent, self.moved.parent):
            directory.mkdir()
        self.file.write_bytes(b"" if sparse else bytes(70_000))
        os.truncate(self.file, 70_000)
        self.watched = [self.file, self.file.parent, self.moved.parent]
        self.descriptors = [os.open(path, os.O_RDONLY) for path in self.watched]
        for descriptor in self.descriptors:
            stack.callback(os.close, descriptor)
        writable = os.open(self.file, os.O_RDWR)
        self.mapping = stack.enter_context(mmap.mmap(writable, 70_000))
        os.close(writable)


def remove_attribute(scene: Scene, number: int) -> None:
    os.setxattr(scene.file, "user.number", b"%d" % number)
    os.removexattr(scene.file, "user.number")


def store(scene: Scene, number: int) -> None:
    scene.mapping[0] = number % 256
    scene.mapping.flush()


def rename(scene: Scene, _number: int) -> None:
    scene.file.rename(scene.moved)
    scene.moved.rename(scene.file)


@both_ways
@pytest.mark.parametrize("sparse", [False, True])  # of one with holes Python counts the blocks
def test_times_are_right_after_each_change(
    make_mount: MakeMount, options: tuple[str, ...], *, sparse: bool
) -> None:
    home = make_mount(*options).path
    core = max(os.sched_getaffinity(0))
    with ExitStack() as stack:
        scene = Scene(home, stack, sparse=sparse)
        for change in (remove_attribute, store, rename):
            for turn in range(TURNS):
                with ExitStack() as beside:
                    for descriptor in scene.descriptors:
                        beside.enter_context(process(idly_asking(core, descriptor)))
                    with process(lambda: busy(core)):
                        for number in range(CHANGES):
                            change(scene, turn * CHANGES + number)
                            time.sleep(PAUSE_S)
                    time.sleep(10 * PAUSE_S)  # now they get their processor
                kept = [shown(path) for path in scene.watched]
                assert kept == [shown(path, AT_STATX_FORCE_SYNC) for path in scene.watched], change
