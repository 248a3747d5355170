from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tierfs.common.own_mount import Known, OwnMountThread, call_own_mount, known_of


def is_open(descriptor: int) -> bool:
    return Path(f"/proc/thread-self/fd/{descriptor}").is_symlink()


def fails() -> None:
    raise OSError(errno.ENOTCONN, "as a dead mount")


@pytest.fixture
def pair() -> list[int]:
    return list(os.pipe())


def test_such_a_thread_has_no_descriptor_of_the_process(pair: list[int]) -> None:
    try:
        assert not any(call_own_mount(is_open, each) for each in (3, *pair, pair[1] + 1))
        assert call_own_mount(is_open, 2)
        assert all(map(is_open, pair)), "it closed the others' too"
    finally:
        for each in pair:
            os.close(each)


def test_it_has_those_that_it_is_to_keep(pair: list[int]) -> None:
    try:
        with OwnMountThread("test", keep=pair[1:]) as thread:
            assert not thread.call(is_open, pair[0])
            assert thread.call(is_open, pair[1])
    finally:
        for each in pair:
            os.close(each)


def test_what_it_opens_is_its_own(tmp_path: Path) -> None:
    with OwnMountThread("test") as thread:
        opened = [thread.call(os.open, tmp_path, os.O_RDONLY) for _ in range(100)]
        assert thread.call(is_open, opened[-1])
        assert not is_open(opened[-1])


def test_errors_are_raised_here_and_it_goes_on() -> None:
    with OwnMountThread("test") as thread:
        with pytest.raises(OSError, match="as a dead mount"):
            thread.call(fails)
        assert thread.call(len, "123") == 3


@pytest.mark.parametrize("opened", [False, True])
def test_what_the_kernel_knows_of_a_file(tmp_path: Path, *, opened: bool) -> None:
    for path, is_type in ((tmp_path, stat.S_ISDIR), (tmp_path / "file", stat.S_ISREG)):
        if path != tmp_path:
            path.touch()
        asked: Callable[[Path], Known] = of_descriptor if opened else known_of
        known, found = asked(path), path.stat()
        assert (known.device, known.ino) == (found.st_dev, found.st_ino)
        assert is_type(known.mode)
    with pytest.raises(FileNotFoundError):
        known_of(tmp_path / "none")
    with pytest.raises(OSError, match="Bad file"):
        known_of(10**6)


def of_descriptor(path: Path) -> Known:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return known_of(descriptor)
    finally:
        os.close(descriptor)
