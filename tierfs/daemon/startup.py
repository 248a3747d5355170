"""Starting the daemon of a mount: a fresh process, and the wait until its mount answers.

The daemon reports over an inherited pipe (``StartupNotifier``): ``READY`` and, on the lines after
it, a warning for the person; or ``FAILED CODE`` and the message. A pipe that ends without either
belongs to a daemon that crashed.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn

from tierfs.common.errors import ConfigError, ExitCode, MountFailed, TierfsError
from tierfs.daemon.clearing import unmount
from tierfs.daemon.interpreter import module_command
from tierfs.daemon.mountinfo import mount_at
from tierfs.daemon.mountpoint import ask_daemon, begun, within
from tierfs.daemon.supervisor import command_of

if TYPE_CHECKING:
    from tierfs.policy.volume_file import VolumeFile

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.01
TAIL_LINES: Final = 15

# A Popen object that is collected while its process runs warns about it; these run on.
_left_running: list[subprocess.Popen[bytes]] = []


class DaemonFailed(TierfsError):
    """The daemon could not mount; carries the exit code and message that it reported."""

    several_lines = True

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = code


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What to mount where; ``options`` are the arguments of ``-o``."""

    volume_file: Path
    mountpoint: Path
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, volume_file: Path, mountpoint: Path, options: tuple[str, ...]) -> MountRequest:
        """A request with real paths, as the kernel's table of mounts has them."""
        return cls(Path(os.path.realpath(volume_file)), Path(os.path.realpath(mountpoint)), options)

    def command(self, ready_pipe: int) -> list[str]:
        """The command line of the daemon."""
        words = [*module_command("tierfs"), "mount", "--foreground", f"--ready-pipe={ready_pipe}"]
        return [*words, *self._arguments()]

    def supervise(self, ready_pipe: int | None) -> NoReturn:
        """Become the supervisor of daemons that serve this; see `tierfs.daemon.supervisor`."""
        command = command_of(self._arguments(), ready_pipe)
        if ready_pipe is not None:
            os.set_inheritable(ready_pipe, True)  # noqa: FBT003 - the only argument there is
        os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do

    def _arguments(self) -> list[str]:
        words = [f"--options={text}" for text in self.options]
        return [*words, "--", os.fspath(self.volume_file), os.fspath(self.mountpoint)]


def start_daemon(request: MountRequest, *, seconds: float = START_SECONDS) -> int:
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
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(writing,),
            start_new_session=True,
            cwd="/",
            umask=0o022,
        )
        os.close(writing)
        try:
            warning = _require_ready(_report(process, reading, seconds), printed)
            _wait_until_mounted(process, mountpoint, deadline)
        except TimeoutError as error:
            left = _terminate(process, mountpoint)
            too_slow = f"the mount did not answer within {seconds:g} s and was given up{left}"
            raise MountFailed.of_lines(_with_last_output(too_slow, printed)) from error
        except OSError as error:
            left = _terminate(process, mountpoint)
            raise MountFailed(f"{mountpoint} does not answer: {error.strerror}{left}") from error
        except BaseException:
            _terminate(process, mountpoint)
            raise
    _left_running.append(process)
    if warning:
        sys.stderr.write(f"tierfs: warning: {warning}\n")
    return process.pid


def _report(process: subprocess.Popen[bytes], reading: int, seconds: float) -> Report | str:
    """The daemon's report, or how the process ended if it made none."""
    report = read_report(reading, seconds)
    if report is not None:
        return report
    try:
        status = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _require_ready(report: Report | str, printed: IO[bytes]) -> str:
    """The warning of a mount that is up; empty for none."""
    if isinstance(report, str):
        raise MountFailed.of_lines(
            _with_last_output(f"the daemon ended with {report} before the mount was up", printed)
        )
    if not report.ready:
        # Why the kernel refused a mount, libfuse says on stderr only.
        fuse = [line for line in _text(printed).splitlines() if line.startswith("fuse")]
        raise DaemonFailed("\n".join([report.message, *fuse]), report.code)
    return report.message


def _wait_until_mounted(
    process: subprocess.Popen[bytes], mountpoint: Path, deadline: float
) -> None:
    """Return when a filesystem of ``process`` answers at ``mountpoint``.

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


def _terminate(process: subprocess.Popen[bytes], mountpoint: Path) -> str:
    """End ``process`` and unmount what it mounted; kill it if it does not end by itself.

    Returns an addition to the message if the process does not end even when it is killed.
    """
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        if _is_tierfs(mountpoint):
            with suppress(MountFailed):
                unmount(mountpoint, lazy=True, seconds=STOP_SECONDS)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _left_running.append(process)
        return (
            f"; its process {process.pid} was killed but has not ended: it waits in the kernel, as "
            "for a device that does not answer, and holds the volume until then"
        )
    return ""


def _with_last_output(message: str, printed: IO[bytes]) -> list[str]:
    last = [line for line in _text(printed).splitlines() if line.strip()][-TAIL_LINES:]
    return [f"{message}; its last output:", *last] if last else [message]


def _text(printed: IO[bytes]) -> str:
    printed.seek(0)
    return printed.read().decode(errors="replace")


# ------------------------------------------------------------------ the report

READY: Final = "READY"
FAILED: Final = "FAILED"
_CHUNK: Final = 65536

MAX_REPORT: Final = 1024 * 1024
"""Bytes of a report that are read; the rest is dropped."""

MAX_DIGITS: Final = 3
"""Of an exit code."""


@dataclass(frozen=True, slots=True)
class Report:
    """Ready, with a warning or none; or failed, with the exit code and the message."""

    ready: bool
    code: ExitCode = ExitCode.OK
    message: str = ""


class StartupNotifier:
    """The daemon's end of the pipe; without one (in the foreground) it does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            # fusermount3, which libfuse starts, must not keep the pipe open.
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)

    @property
    def pending(self) -> bool:
        """Whether a command still waits for the report."""
        return self._descriptor is not None

    def ready(self, warning: str = "") -> None:
        """Report that the mount answers."""
        self._send(f"{READY}\n{warning}")

    def failed(self, code: int, message: str) -> None:
        """Report that there will be no mount."""
        self._send(f"{FAILED} {code}\n{message}")

    def _send(self, text: str) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # Closed whatever happens: the other side waits for the end of the pipe.
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(text.encode("utf-8", "surrogateescape"))


def read_report(descriptor: int, seconds: float) -> Report | None:
    """The daemon's report, or None if the pipe ended without one.

    Raises:
        TimeoutError: the report was not complete within ``seconds``.
    """
    data = b""
    deadline = time.monotonic() + seconds
    while True:
        if not select.select([descriptor], [], [], max(deadline - time.monotonic(), 0.0))[0]:
            raise TimeoutError
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return parse_report(data.decode("utf-8", "surrogateescape"))
        data = (data + chunk)[:MAX_REPORT]


def parse_report(text: str) -> Report | None:
    """The report that ``text`` is; None if it is none."""
    first, _, rest = text.partition("\n")
    word, _, code = first.partition(" ")
    if word == READY:
        return Report(ready=True, message=rest)
    if word == FAILED and code.isascii() and code.isdecimal() and len(code) <= MAX_DIGITS:
        known = int(code) in set(ExitCode)
        return Report(
            ready=False,
            code=ExitCode(int(code)) if known else ExitCode.UNEXPECTED,
            message=rest,
        )
    return None


# ------------------------------------------------------------------ warnings

CHECK_SECONDS: Final = 2.0
"""A directory that does not answer by then is left to the daemon."""


class MountWarnings:
    """What is probably not meant, though it can be mounted; checked while the daemon starts."""

    def __init__(self, request: MountRequest) -> None:
        # Before the mount is made: what is in the directory is hidden then.
        self._hidden = _result(partial(within, CHECK_SECONDS, lambda: _hidden(request.mountpoint)))
        self._one_filesystem = begun(lambda: _one_filesystem(request.volume_file))

    def lines(self) -> list[str]:
        """The warnings, a line each; waits until the checks are done."""
        found = [self._hidden, _result(partial(self._one_filesystem, CHECK_SECONDS))]
        return [line for line in found if line]


def _result(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except (OSError, TimeoutError):
        return None  # the daemon's message says more


def _hidden(mountpoint: Path) -> str | None:
    if mount_at(mountpoint) is not None:
        return None  # a dead mount, which is replaced, or one that makes the mount fail
    with os.scandir(mountpoint) as entries:
        if next(entries, None) is None:
            return None
    return f"{mountpoint} is not empty: what is in it is hidden while the volume is mounted"


def _one_filesystem(volume_file: Path) -> str | None:
    # Takes as long to load as all else that a command needs which mounts.
    policy = import_module("tierfs.policy.volume_file")
    try:
        settings: VolumeFile = policy.load_volume_file(volume_file)
    except ConfigError:
        return None
    if settings.flash.stat().st_dev != settings.disk.stat().st_dev:
        return None
    return (
        f"{settings.flash} and {settings.disk} are on one filesystem: good for a trial, but "
        "nothing becomes faster, and moving files off flash frees no room there"
    )
