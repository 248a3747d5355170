"""Files in memory (tmpfs) are in the page cache but for their holes, whatever others do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tierfs.common.errors import TierfsError
from tierfs.prewarm.caches import PAGE, Span, cached, is_name_cached, resident_pages

PAGES = 10
LENGTH = PAGES * PAGE - 100
"""The last page is not full."""


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Pages 2, 3 and 9 of ten have data, the others are holes."""
    descriptor = os.memfd_create("file")
    os.ftruncate(descriptor, LENGTH)
    os.pwrite(descriptor, b"x" * 2 * PAGE, 2 * PAGE)
    os.pwrite(descriptor, b"x", LENGTH - 1)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("offset", "length", "span"),
    [
        (0, LENGTH, Span(LENGTH, 3 * PAGE)),
        (0, 2 * PAGE, Span(2 * PAGE, 0)),
        (2 * PAGE, 2 * PAGE, Span(2 * PAGE, 2 * PAGE)),
        (2 * PAGE + 1, 1, Span(1, 1)),
        (9 * PAGE, PAGE - 100, Span(PAGE - 100, PAGE - 100)),
        (0, 0, Span(0, 0)),
    ],
)
def test_what_is_in_memory_is_counted(
    descriptor: int, offset: int, length: int, span: Span
) -> None:
    assert cached(descriptor, offset, length) == span


def test_older_kernels_are_asked_by_mincore(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resident_pages(descriptor, 0, PAGES * PAGE) == 3
    monkeypatch.setattr("tierfs.prewarm.caches._MAPPED_AT_ONCE", 3 * PAGE)
    assert resident_pages(descriptor, 0, PAGES * PAGE) == 3
    assert resident_pages(descriptor, 2 * PAGE, 2 * PAGE) == 2


def test_mincore_is_not_believed_where_it_always_says_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * PAGE)
    (tmp_path / "file").chmod(0o444)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr("os.access", lambda *_args, **_options: False)
    with pytest.raises(PermissionError, match="only its owner"):
        resident_pages(descriptor, 0, PAGE)
    os.close(descriptor)


def test_a_name_that_was_just_used_is_remembered(scratch: Path) -> None:
    (scratch / "file").touch()
    assert is_name_cached(os.fsencode(scratch / "file"))


def test_a_name_that_cannot_be_is_told() -> None:
    with pytest.raises(OSError, match="File name too long"):
        is_name_cached(b"/" * 5000)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_kernel_that_cannot_tell(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tierfs.prewarm.caches._OPENAT2", -1)  # no kernel has this call
    monkeypatch.setattr("ctypes.get_errno", lambda: number)
    with pytest.raises(TierfsError, match=r"Linux 5\.12"):
        is_name_cached(b"/")
