"""Work in the background may fail, by the system's fault or by ours: the mount lives on."""

from __future__ import annotations

import errno
import os

import pytest
import trio

from tests.guards.logs import ExpectLog
from tierfs.mount.serve import _in_background


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyError("a bug")])
def test_what_fails_is_logged(error: Exception, expect_log: ExpectLog) -> None:
    expect_log("in the background")

    def fail() -> None:
        raise error

    trio.run(_in_background, fail)
