"""Starting the daemon of a mount: a fresh process, waited for until the mount answers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tierfs.common.errors import ExitCode, MountFailed, TierfsError
from tierfs.daemon.handshake import Report, read_report
from tierfs.daemon.interpreter import module_command
from tierfs.daemon.mountinfo import mount_at
from tierfs.daemon.mountpoint import ask_daemon, unmount

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.01
TAIL_LINES: Final = 15

# A Popen object that is collected while its process runs warns about it; these shall run on.
_left_running: list[subprocess.Popen[bytes]] = []


class DaemonFailed(TierfsError):
    """The daemon could not mount; carries the exit code and message it reported."""

    several_lines = True

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = code


@dataclass(frozen=True, slots=True)
class Request:
    """What to mount where; ``options`` are the arguments of ``-o``."""

    volume_file: Path
    mountpoint: Path
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, volume_file: Path, mountpoint: Path, options: tuple[str, ...]) -> Request:
        """A request with real paths: as such the kernel's table of mounts has them."""
        return cls(Path(os.path.realpath(volume_file)), Path(os.path.realpath(mountpoint)), options)

    def command(self, ready_pipe: int) -> list[str]:
        """The command line of its daemon."""
        words = [*module_command("tierfs"), "mount", "--foreground", f"--ready-pipe={ready_pipe}"]
        words += [f"--options={text}" for text in self.options]
        return [*words, "--", os.fspath(self.volume_file), os.fspath(self.mountpoint)]


def start_daemon(request: Request, *, seconds: float = START_SECONDS) -> int:
    """Mount as ``request`` says; returns the daemon's process ID once the mount answers.

    Raises:
        DaemonFailed: what the daemon reported.
        MountFailed: it crashed, or the mount does not answer within ``seconds``.
    """
    reading, writing = os.pipe()
    try:
        return start_process(
            request.command(writing), (reading, writing), request.mountpoint, seconds
        )
    finally:
        os.close(reading)


def start_process(
    command: Sequence[str], pipe: tuple[int, int], mountpoint: Path, seconds: float
) -> int:
    """Run ``command``, which reports on ``pipe``; see ``start_daemon``."""
    deadline = time.monotonic() + seconds
    reading, writing = pipe
    with tempfile.TemporaryFile() as printed:
        process = _launch(command, writing, printed)
        os.close(writing)
        try:
            warning = _require_ready(_report(process, reading, seconds), printed)
            _wait_until_mounted(process, mountpoint, deadline)
        except TimeoutError as error:
            left = _give_up(process, mountpoint)
            raise MountFailed.of_lines(_with_tail(_too_slow(seconds) + left, printed)) from error
        except OSError as error:
            left = _give_up(process, mountpoint)
            raise MountFailed(f"{mountpoint} does not answer: {error.strerror}{left}") from error
        except BaseException:
            _give_up(process, mountpoint)
            raise
    _left_running.append(process)
    if warning:
        sys.stderr.write(f"tierfs: warning: {warning}\n")
    return process.pid


def _launch(command: Sequence[str], pipe: int, printed: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=printed,
        pass_fds=(pipe,),
        start_new_session=True,
        cwd="/",
        umask=0o022,
    )


def _report(process: subprocess.Popen[bytes], reading: int, seconds: float) -> Report | str:
    """The daemon's report, or how it ended when it made none."""
    report = read_report(reading, seconds)
    if report is not None:
        return report
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _require_ready(report: Report | str, printed: IO[bytes]) -> str:
    """What the person is to know of the mount that is up; empty: nothing."""
    if isinstance(report, str):
        raise MountFailed.of_lines(
            _with_tail(f"the daemon ended with {report} before the mount was up", printed)
        )
    if not report.ready:
        raise DaemonFailed("\n".join([report.message, *_said_by_fuse(printed)]), report.code)
    return report.message


def _wait_until_mounted(
    process: subprocess.Popen[bytes], mountpoint: Path, deadline: float
) -> None:
    """Return when a file system of ``process`` answers at ``mountpoint``.

    Raises:
        TimeoutError: it does not.
    """
    while not _is_tierfs(mountpoint):
        if time.monotonic() > deadline:
            raise TimeoutError
        if process.poll() is not None:
            raise MountFailed(f"{mountpoint} was unmounted again at once")
        time.sleep(POLL_SECONDS)
    ask_daemon(mountpoint, max(deadline - time.monotonic(), POLL_SECONDS))


def _is_tierfs(mountpoint: Path) -> bool:
    found = mount_at(mountpoint)
    return found is not None and found.is_tierfs


def _give_up(process: subprocess.Popen[bytes], mountpoint: Path) -> str:
    """End ``process``, killing it when it must be, and what it may have mounted.

    Returns what is to be said of a process that does not even end when it is killed.
    """
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _detach(mountpoint)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _left_running.append(process)
        return (
            f"; its process {process.pid} was killed but has not ended: it waits in the kernel, as "
            "for a device that does not answer, and holds the volume until then"
        )
    return ""


def _detach(mountpoint: Path) -> None:
    if _is_tierfs(mountpoint):
        with suppress(MountFailed):
            unmount(mountpoint, lazy=True, seconds=STOP_SECONDS)


def _too_slow(seconds: float) -> str:
    return f"the mount did not answer within {seconds:g} s and was given up"


def _with_tail(message: str, printed: IO[bytes]) -> list[str]:
    last = [line for line in _text(printed).splitlines() if line.strip()][-TAIL_LINES:]
    return [f"{message}; its last words:", *last] if last else [message]


def _said_by_fuse(printed: IO[bytes]) -> list[str]:
    """Why a mount failed: libfuse says it on stderr only."""
    return [line for line in _text(printed).splitlines() if line.startswith("fuse")]


def _text(printed: IO[bytes]) -> str:
    printed.seek(0)
    return printed.read().decode(errors="replace")
