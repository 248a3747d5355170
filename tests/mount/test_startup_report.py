from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from tierfs.common.errors import ExitCode
from tierfs.daemon.startup import Report, StartupNotifier, read_report

pytestmark = pytest.mark.once


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def told(pipe: tuple[int, int], data: bytes) -> Report | None:
    os.write(pipe[1], data)
    os.close(pipe[1])
    return read_report(pipe[0], 5)


def test_a_warning_comes_with_the_mount(pipe: tuple[int, int]) -> None:
    StartupNotifier(pipe[1]).ready("/flash is write-protected, mounting read-only")
    warning = "/flash is write-protected, mounting read-only"
    assert read_report(pipe[0], 5) == Report(ready=True, message=warning)


def test_a_mount_that_answers_is_reported_once(pipe: tuple[int, int]) -> None:
    notifier = StartupNotifier(pipe[1])
    before = notifier.pending
    notifier.ready()
    assert (before, notifier.pending) == (True, False)
    assert read_report(pipe[0], 5) == Report(ready=True)


def test_failed_carries_code_and_message(pipe: tuple[int, int]) -> None:
    StartupNotifier(pipe[1]).failed(4, "held by another\ndaemon \udcff")
    expected = Report(
        ready=False, code=ExitCode.VOLUME_BUSY, message="held by another\ndaemon \udcff"
    )
    assert read_report(pipe[0], 5) == expected


def test_only_the_first_word_counts(pipe: tuple[int, int]) -> None:
    notifier = StartupNotifier(pipe[1])
    notifier.ready()
    notifier.failed(1, "too late")
    assert read_report(pipe[0], 5) == Report(ready=True)


@pytest.mark.parametrize("data", [b"", b"READ", b"FAILED", b"FAILED x\n", b"noise\n"])
def test_anything_else_is_no_report(pipe: tuple[int, int], data: bytes) -> None:
    assert told(pipe, data) is None


def test_an_unknown_code_is_the_general_one(pipe: tuple[int, int]) -> None:
    report = told(pipe, b"FAILED 99\nwhat")
    assert report == Report(ready=False, code=ExitCode.UNEXPECTED, message="what")


def test_silence_times_out(pipe: tuple[int, int]) -> None:
    with pytest.raises(TimeoutError):
        read_report(pipe[0], 0.05)
    os.close(pipe[1])


def test_programs_started_later_do_not_hold_the_pipe(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETFD, 0)
    notifier = StartupNotifier(pipe[1])
    assert fcntl.fcntl(pipe[1], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    notifier.ready()


def test_in_the_foreground_nobody_is_told() -> None:
    notifier = StartupNotifier(None)
    notifier.ready()
    notifier.failed(1, "no one")
    assert not notifier.pending
