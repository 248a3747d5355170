"""A worker process: long work in a process of its own, so that it delays no request.

The daemon runs this module as a program; ``workers.py`` is its side. Standard input is a socket. A
message on it is a file in memory with a pickled task, and the descriptors that the task needs; the
outcome goes back in the same way. Pickled, as both sides are this very program, and nobody else
holds the socket. Only built-in types and what tasks import are in messages: for the process this
module is `__main__`.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Sequence
from typing import IO, Any, Final, NamedTuple

from tierfs.common.priority import LOWEST, StarvationGuard, die_with_parent, lower_priority

_MOST: Final = 16
"""Descriptors of a message."""


class Passed(NamedTuple):
    """A descriptor in a message. The receiver finds the number of its own copy in this place."""

    descriptor: int


def send(to: socket.socket, message: object) -> None:
    """Send a message of any size, without waiting for who is to receive it.

    Raises:
        ConnectionError: the other side has gone.
    """
    with os.fdopen(os.memfd_create("tierfs-task", os.MFD_CLOEXEC), "wb") as file:
        pickler = _Pickler(file)
        pickler.dump(message)
        file.flush()
        socket.send_fds(to, [b"\0"], [file.fileno(), *pickler.passed])


def receive(source: socket.socket) -> tuple[Any, list[int]] | None:
    """The next message and the descriptors in it, which are the caller's; None: no more will come.

    Raises:
        ConnectionError: the other side went before it had read all.
        TimeoutError: there is none yet.
    """
    there, descriptors, _, _ = socket.recv_fds(source, 1, _MOST, socket.MSG_CMSG_CLOEXEC)
    if not there:
        return None
    held, *passed = descriptors
    with os.fdopen(held, "rb") as file:
        file.seek(0)
        # This imports the modules that a task needs.
        return _Unpickler(file, passed).load(), passed


class _Pickler(pickle.Pickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.passed: list[int] = []

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, Passed):
            return None
        self.passed.append(value.descriptor)
        return len(self.passed) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], passed: Sequence[int]) -> None:
        super().__init__(file)
        self._passed = passed

    def persistent_load(self, place: int) -> int:
        return self._passed[place]


def main() -> None:
    """Do tasks until the daemon wants no more, or has gone."""
    die_with_parent()
    with socket.socket(fileno=os.dup(0)) as daemon:
        os.dup2(1, 0)  # no library is to read tasks
        while (received := receive(daemon)) is not None:
            (nice, function, arguments), passed = received
            outcome = _done(nice, function, arguments)
            for descriptor in passed:
                os.close(descriptor)
            send(daemon, outcome)


def _done(
    nice: int, function: Callable[..., object], arguments: Sequence[object]
) -> tuple[bool, object]:
    """Whether a function worked, and its result or its exception."""
    lower_priority(nice)
    guard = StarvationGuard()
    if nice == LOWEST:
        guard.watch()
    try:
        return True, function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again by the daemon
        return False, error.with_traceback(None)
    finally:
        guard.end()


if __name__ == "__main__":
    main()
