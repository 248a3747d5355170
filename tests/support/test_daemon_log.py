"""The check of the daemon's log finds errors, once, and lets allowed ones pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon_log import DaemonLog

QUIET = "12:00 INFO mounted\n"
ERROR = "12:01 ERROR inode 7 lost its head\nTraceback (most recent call last):\n  in f\nOSError\n"


@pytest.fixture
def log(tmp_path: Path) -> DaemonLog:
    (tmp_path / "log").write_text(QUIET)
    return DaemonLog(tmp_path / "log")


def test_quiet_log_passes(log: DaemonLog) -> None:
    log.check()


def test_missing_log_passes(tmp_path: Path) -> None:
    DaemonLog(tmp_path / "none").check()


def test_error_fails_once_with_its_traceback(log: DaemonLog) -> None:
    log.path.write_text(QUIET + ERROR + QUIET)
    with pytest.raises(AssertionError, match=r"lost its head[^$]*OSError"):
        log.check()
    log.check()


def test_bare_traceback_fails(log: DaemonLog) -> None:
    log.path.write_text("Traceback (most recent call last):\n  in f\nOSError\n")
    with pytest.raises(AssertionError, match="OSError"):
        log.check()


def test_allowed_error_passes(log: DaemonLog) -> None:
    log.path.write_text(QUIET + ERROR)
    log.allow("inode 7")
    log.check()


def test_forgotten_error_passes_and_the_next_fails(log: DaemonLog) -> None:
    log.path.write_text(ERROR)
    log.allow("inode 7")
    log.forget()
    log.check()
    log.path.write_text(ERROR + ERROR)
    with pytest.raises(AssertionError, match="lost its head"):
        log.check()
