from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tierfs.common import errors
from tierfs.common.errors import (
    PASSED_ON,
    Damage,
    ExitCode,
    FsError,
    IndexFailed,
    TierfsError,
    errno_of,
)


def subclasses(of: type[TierfsError]) -> Iterator[type[TierfsError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from subclasses(kind)


def test_an_error_of_the_filesystem_keeps_its_errno() -> None:
    assert errno_of(FsError(errno.ENOTEMPTY)) == errno.ENOTEMPTY
    assert errno_of(IndexFailed(errno.ENOSPC, "full")) == errno.ENOSPC
    assert errno_of(Damage(7, "short")) == errno.EIO


@pytest.mark.parametrize("code", sorted(PASSED_ON))
def test_what_means_the_same_above_is_passed_on(code: int) -> None:
    assert errno_of(OSError(code, "")) == code


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EEXIST, errno.EACCES, errno.ESTALE])
def test_what_means_something_else_below_is_an_io_error(code: int) -> None:
    assert errno_of(OSError(code, "")) == errno.EIO


@pytest.mark.parametrize("exc", [OSError("no errno"), RuntimeError(), KeyError(errno.ENOENT)])
def test_anything_else_is_an_io_error(exc: Exception) -> None:
    assert errno_of(exc) == errno.EIO


def test_messages_are_for_people() -> None:
    assert str(FsError(errno.ENOENT)) == "No such file or directory"
    assert str(FsError(errno.EIO, "the detail")) == "the detail"
    damage = Damage(7, "its flash object is missing")
    assert (damage.ino, str(damage)) == (7, "inode 7: its flash object is missing")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = (errors.__doc__ or "").split("``errno_of``")[0]
    for kind in subclasses(TierfsError):
        if kind.__module__ == errors.__name__:
            assert f"── {kind.__name__} " in drawn


def test_exit_codes_are_distinct_and_no_shell_s() -> None:
    codes = [int(code) for code in ExitCode]
    assert len(set(codes)) == len(codes)
    assert all(0 <= code < 126 for code in codes)
    assert {kind.exit_code for kind in subclasses(TierfsError)} <= set(ExitCode)
