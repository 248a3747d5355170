"""Where a file has data, also while somebody cuts it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tierfs.common.ranges import data_ranges
from tierfs.prewarm.warm import Opened, tail_ranges
from tierfs.storage.objects import ObjectStore

PAGE = 4096
SIZE = 10 * PAGE


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """A file of ten pages, with data in the second and the eighth."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    for page in (1, 7):
        os.pwrite(fd, b"x" * PAGE, page * PAGE)
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is cut to nothing after it was asked for data, before it is asked for a hole."""
    lseek = os.lseek

    def cutting(fd: int, at: int, whence: int) -> int:
        found = lseek(fd, at, whence)
        if whence == os.SEEK_DATA:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            os.truncate(path, 0)
        return found

    monkeypatch.setattr(os, "lseek", cutting)


def test_ranges_of_data_are_cut_at_the_ends(descriptor: int) -> None:
    assert list(data_ranges(descriptor, 0, SIZE)) == [(PAGE, 2 * PAGE), (7 * PAGE, 8 * PAGE)]
    assert list(data_ranges(descriptor, PAGE + 5, 7 * PAGE + 9)) == [
        (PAGE + 5, 2 * PAGE),
        (7 * PAGE, 7 * PAGE + 9),
    ]
    assert list(data_ranges(descriptor, 2 * PAGE, 7 * PAGE)) == []
    assert list(data_ranges(descriptor, SIZE, SIZE)) == []


def test_a_file_that_is_shorter_than_it_was_said_to_be(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    assert list(data_ranges(descriptor, 0, SIZE)) == []


@pytest.mark.usefixtures("cut")
def test_a_file_that_is_cut_between_two_questions_ends_there(descriptor: int) -> None:
    assert list(data_ranges(descriptor, 0, SIZE)) == []


@pytest.mark.usefixtures("cut")
def test_an_object_that_is_cut_meanwhile_is_no_error(store: ObjectStore) -> None:
    """Blocks are counted for stat(2) and open(2), and pieces for a move, without any lock."""
    store.write(5000, SIZE, b"end")
    assert store.pieces(5000, 0, SIZE + 3) == []
    store.write(5000, SIZE, b"end")
    assert store.allocated(5000, SIZE) == 0


@pytest.mark.usefixtures("cut")
def test_a_file_that_is_cut_while_it_is_warmed_is_no_error(descriptor: int) -> None:
    assert list(tail_ranges(Opened(descriptor, PAGE, SIZE, has_holes=True))) == []


def test_what_is_no_file_is_an_error() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek") as raised:
            list(data_ranges(reading, 0, 1))
    finally:
        os.close(reading)
        os.close(writing)
    assert raised.value.errno == errno.ESPIPE
