"""How a daemon tells the command that started it whether the mount is up.

Over an inherited pipe the daemon writes ``READY`` and on the lines after it what the person is to
know of the mount, or ``FAILED CODE`` and the message for the
person on the lines after it. A pipe that ends without either is a daemon that crashed.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from dataclasses import dataclass
from typing import Final

from tierfs.common.errors import ExitCode

READY: Final = "READY"
FAILED: Final = "FAILED"
_CHUNK: Final = 65536

MOST_BYTES: Final = 1024 * 1024
"""Of a report; what is said beyond is dropped."""

MOST_DIGITS: Final = 3
"""Of an exit code."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the daemon said: up, with a warning or none, or down with the exit code and message."""

    ready: bool
    code: ExitCode = ExitCode.OK
    message: str = ""


class Herald:
    """The daemon's end of the pipe; without one (in the foreground) it says nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            # fusermount3, which libfuse starts, must not keep the pipe open.
            fcntl.fcntl(descriptor, fcntl.F_SETFD, fcntl.FD_CLOEXEC)

    @property
    def pending(self) -> bool:
        """Whether somebody still waits for a word."""
        return self._descriptor is not None

    def ready(self, message: str = "") -> None:
        """The mount answers; ``message``: it is not quite what was asked for."""
        self._say(f"{READY}\n{message}")

    def failed(self, code: int, message: str) -> None:
        """There will be no mount, because of ``message``."""
        self._say(f"{FAILED} {code}\n{message}")

    def _say(self, text: str) -> None:
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        # Closed whatever happens: the other side waits for the end of the pipe.
        with os.fdopen(descriptor, "wb") as pipe:
            pipe.write(text.encode("utf-8", "surrogateescape"))


def read_report(descriptor: int, seconds: float) -> Report | None:
    """The daemon's report, or None when the pipe ended without one.

    Raises:
        TimeoutError: the daemon said nothing for ``seconds``.
    """
    said = b""
    deadline = time.monotonic() + seconds
    while chunk := _read_before(descriptor, deadline):
        said = (said + chunk)[:MOST_BYTES]
    return _understood(said.decode("utf-8", "surrogateescape"))


def _read_before(descriptor: int, deadline: float) -> bytes:
    left = max(deadline - time.monotonic(), 0.0)
    if not select.select([descriptor], [], [], left)[0]:
        raise TimeoutError
    return os.read(descriptor, _CHUNK)


def _understood(said: str) -> Report | None:
    first, _, rest = said.partition("\n")
    word, _, code = first.partition(" ")
    if word == READY:
        return Report(ready=True, message=rest)
    if word == FAILED and code.isascii() and code.isdecimal() and len(code) <= MOST_DIGITS:
        return Report(ready=False, code=_exit_code(int(code)), message=rest)
    return None


def _exit_code(number: int) -> ExitCode:
    return ExitCode(number) if number in set(ExitCode) else ExitCode.UNEXPECTED
