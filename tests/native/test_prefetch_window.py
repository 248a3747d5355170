"""Which directories are listed ahead, and how far: `prefetch_window.c`, compiled by itself."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[2] / "tierfs/native/src/prefetch_window.c"
LOOKUPS, AHEAD = 8, 8
AFTER_DOTS = 2
ROOM = 1 << 20
"""Bytes, more than a ``prefetch_windows`` takes."""


class Step(ctypes.Structure):
    """``step`` of prefetch_window.h."""

    _fields_ = (("cookie", ctypes.c_int64), ("names", ctypes.c_uint32))


class Window:
    """What the functions say of one directory with so many names, whose cookies are 3, 4, ..."""

    def __init__(self, functions: ctypes.CDLL, names: int, directory: int = 7) -> None:
        self._functions = functions
        self._state = ctypes.create_string_buffer(ROOM)
        self._directory = ctypes.c_uint64(directory)
        self._names = names
        self.lookups = 0
        self.listed = 0
        functions.tfs_prefetch_window_init(self._state)

    def look_up(self) -> int:
        """One LOOKUP, and the step that it asks for, if any; how many names that listed."""
        self.lookups += 1
        if not self._functions.tfs_prefetch_window_count(self._state, self._directory):
            return 0
        step = Step()
        known = self._functions.tfs_prefetch_window_next(
            self._state, self._directory, ctypes.byref(step)
        )
        assert known
        return self._list(step)

    def look_up_until(self, listed: int) -> int:
        """Look up until so many names were listed in all; how many lookups that took."""
        before = self.lookups
        while self.listed < listed:
            self.look_up()
        return self.lookups - before

    def forget(self, directory: int) -> None:
        """The kernel forgets an inode."""
        self._functions.tfs_prefetch_window_forget(self._state, ctypes.c_uint64(directory))

    def _list(self, step: Step) -> int:
        done = step.cookie - AFTER_DOTS
        assert 0 <= done <= self._names
        names = min(int(step.names), self._names - int(done))
        self.listed += names
        cookie = ctypes.c_int64(step.cookie + names)
        self._functions.tfs_prefetch_window_listed(self._state, self._directory, names, cookie)
        return names


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("window") / "prefetch_window.so"
    options = ["-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]
    command = ["cc", *options, str(target), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    library = ctypes.CDLL(str(target))
    for name in ("tfs_prefetch_window_count", "tfs_prefetch_window_next"):
        getattr(library, name).restype = ctypes.c_bool
    return library


def test_a_few_lookups_list_nothing(functions: ctypes.CDLL) -> None:
    directory = Window(functions, 1000)
    assert [directory.look_up() for _ in range(LOOKUPS - 1)] == [0] * (LOOKUPS - 1)
    assert directory.look_up() > 0


@given(names=st.integers(0, 5000), lookups=st.integers(0, 2000))
@settings(deadline=None)
def test_no_more_names_are_listed_than_the_lookups_are_worth(
    functions: ctypes.CDLL, names: int, lookups: int
) -> None:
    directory = Window(functions, names)
    for _ in range(lookups):
        directory.look_up()
    assert directory.listed <= AHEAD * lookups


@given(names=st.integers(1, 5000))
@settings(deadline=None)
def test_an_eighth_of_the_names_is_enough_for_all(functions: ctypes.CDLL, names: int) -> None:
    directory = Window(functions, names)
    assert directory.look_up_until(names) <= names / AHEAD + 2 * LOOKUPS


def test_what_was_listed_is_listed_again_when_much_of_it_is_asked_for(
    functions: ctypes.CDLL,
) -> None:
    directory = Window(functions, 1000)
    directory.look_up_until(1000)
    assert directory.look_up_until(1001) >= 500


def test_a_directory_that_was_forgotten_begins_anew(functions: ctypes.CDLL) -> None:
    directory = Window(functions, 1000)
    directory.look_up_until(1000)
    directory.forget(8)
    directory.forget(7)
    assert directory.look_up_until(1001) == LOOKUPS


def test_directories_do_not_disturb_one_another(functions: ctypes.CDLL) -> None:
    """Each has a place of its own, but for those that chance puts into the same."""
    state = ctypes.create_string_buffer(ROOM)
    functions.tfs_prefetch_window_init(state)
    asked = [
        functions.tfs_prefetch_window_count(state, ctypes.c_uint64(ino))
        for _ in range(LOOKUPS)
        for ino in range(1, 101)
    ]
    assert asked == [False] * 100 * (LOOKUPS - 1) + [True] * 100
