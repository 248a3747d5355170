"""The daemon's side of a worker process: starts it, gives it bytes, and ends it.

A worker is believed nothing: its messages are checked, and it has a limit on processor time and on
time for each file, on bytes that it may ask for, and on the number of files before another one
takes over.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tierfs.facts.extractor import FactValue, Identity, checked, checksum_of
from tierfs.facts.worker import LONGEST_ERROR, MESSAGE

MODULE: Final = "tierfs.facts.worker"

START_S: Final = 120.0
"""For loading the libraries."""
LOOK_S: Final = 0.5
"""Seconds between two looks at the clocks of a worker."""

ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""The environment of libraries that would start a thread for each core."""

Read = Callable[[int, int], bytes]
"""Gets the bytes of a file at an offset, of a length; it may wait for the mover's rate."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one file, and of one process; times in seconds, bytes."""

    cpu_s: float = 5.0
    wall_s: float = 60.0
    """Not counting the time that reading its bytes takes."""
    bytes: int = 8 << 20
    ranges: int = 256
    files: int = 5000


class Answer(NamedTuple):
    """What a worker says of a file. ``error``: why there are no facts."""

    extractor: Identity
    facts: dict[str, FactValue]
    error: str | None = None


class WorkerFailed(Exception):
    """No worker process can be started; the message says why."""


class _Ended(Exception):
    """The worker process ended, or was ended, while it had a file; the message says how."""


class WorkerProcess:
    """One worker process at a time, started when the first file comes. For one thread."""

    def __init__(self, command: Sequence[str], bounds: Bounds | None = None) -> None:
        """``command`` runs `MODULE`; the number of a descriptor is added."""
        self._command = command
        self._bounds = bounds or Bounds()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._files = 0
        self.identities: list[Identity] = []
        """The extractors that the worker has."""
        self.missing: dict[str, str] = {}
        """Extractors that it could not load, and why."""
        self.refused: list[str] = []
        """What the kernel did not let it give up."""
        self.ended = 0
        """Workers that a file has ended."""

    @property
    def nothing(self) -> Identity:
        """Stands for the extractor of a file that none has recognised."""
        return Identity("", checksum_of(self.identities))

    def start(self) -> None:
        """Start a worker, unless there is one.

        Raises:
            WorkerFailed: it does not begin to work.
        """
        process = self._process
        if process is not None and process.poll() is None and self._files < self._bounds.files:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * MESSAGE)
        try:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a session has its own share of processor time
                env={"PATH": os.defpath, **ONE_THREAD},
            )
        except OSError as error:
            ours.close()
            raise WorkerFailed(f"a worker process cannot be started: {error}") from error
        finally:
            theirs.close()
        self._connection, self._files = ours, 0
        self._greet()

    def _greet(self) -> None:
        try:
            greeting = self._receive(time.monotonic() + START_S, None)
            self._require_confined(greeting)
            self.identities = [Identity(str(name), int(at)) for name, at in greeting["extractors"]]
            self.missing = {str(name): str(why) for name, why in greeting["missing"].items()}
            self.refused = [str(what) for what in greeting["refused"]]
        except (_Ended, LookupError, TypeError, ValueError, AttributeError) as error:
            self.close()
            raise WorkerFailed(f"a worker process does not begin to work: {error}") from error
        except WorkerFailed:
            self.close()
            raise

    @staticmethod
    def _require_confined(greeting: dict[str, Any]) -> None:
        if "failed" in greeting:
            raise WorkerFailed(f"a worker process is not confined: {greeting['failed']}")

    def extract(self, size: int, head: bytes, read: Read) -> Answer:
        """What the extractors say of a file of ``size`` bytes that begins with ``head``.

        Raises:
            WorkerFailed: there is no worker.
            What ``read`` raises.
        """
        self.start()
        self._files += 1
        try:
            return self._conversation(size, head, read)
        except _Ended as error:
            self.ended += 1
            self.close()
            return Answer(self.nothing, {}, str(error)[:LONGEST_ERROR])
        except BaseException:
            self.close()  # it still has the file
            raise

    def close(self) -> None:
        """End the worker."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None

    def _conversation(self, size: int, head: bytes, read: Read) -> Answer:
        used, deadline = self._used(), time.monotonic() + self._bounds.wall_s
        left, ranges = self._bounds.bytes, self._bounds.ranges
        self._send({"size": size}, head)
        while True:
            message = self._receive(deadline, used)
            if "offset" not in message:
                return self._checked(message)
            offset, length = self._range(message, size)
            left, ranges = left - length, ranges - 1
            if left < 0 or ranges < 0:
                self._send({"refused": "its header is too large, or too far apart"}, None)
                continue
            before = time.monotonic()
            self._send({}, read(offset, length))
            deadline += time.monotonic() - before

    @staticmethod
    def _range(message: dict[str, Any], size: int) -> tuple[int, int]:
        offset, length = message["offset"], message.get("length")
        if not (isinstance(offset, int) and isinstance(length, int)):
            raise _Ended("the worker process asked for nonsense")
        if not (0 <= offset < size and 0 < length <= size - offset):
            raise _Ended("the worker process asked for bytes behind the end of the file")
        return offset, length

    def _checked(self, message: dict[str, Any]) -> Answer:
        """The answer, if it is one.

        Raises:
            _Ended: it is none.
        """
        try:
            named, error = message["extractor"], message.get("error")
            identity = self.nothing if named is None else Identity(*named)
            facts = checked(message["facts"])
            known = identity == self.nothing or identity in self.identities
            if not known or not (error is None or isinstance(error, str)):
                raise _Ended("the worker process answered nonsense")
        except (LookupError, TypeError, ValueError, AttributeError) as wrong:
            raise _Ended(f"the worker process answered nonsense: {wrong}") from wrong
        return Answer(identity, {} if error else facts, error and error[:LONGEST_ERROR])

    def _send(self, message: dict[str, Any], data: bytes | None) -> None:
        assert self._connection is not None  # noqa: S101 - for the type checker
        text = json.dumps(message).encode()
        descriptors = []
        try:
            if data is not None:
                descriptors.append(_memory_of(data))
            socket.send_fds(self._connection, [text], descriptors)
        except OSError as error:
            raise _Ended(self._ending()) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _receive(self, deadline: float, used: float | None) -> dict[str, Any]:
        """A message; ``used``: processor time before the file, None: no file is under way.

        Raises:
            _Ended: the worker ended, took too long, or sent something else.
        """
        connection = self._connection
        assert connection is not None  # noqa: S101 - for the type checker
        waiting = select.poll()  # select(2) knows no descriptor above 1023
        waiting.register(connection, select.POLLIN)
        while not waiting.poll(LOOK_S * 1000):
            if used is not None and self._used() - used > self._bounds.cpu_s:
                raise _Ended(f"took more than {self._bounds.cpu_s:g} s of processor time")
            if time.monotonic() > deadline:
                raise _Ended("did not end in time")
        try:
            text = connection.recv(MESSAGE)
        except OSError:
            text = b""
        if not text:
            raise _Ended(self._ending())
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _Ended("the worker process answered nonsense") from error
        if not isinstance(message, dict):
            raise _Ended("the worker process answered nonsense")
        return message

    def _used(self) -> float:
        """Seconds of processor time that the worker has used (clock_getcpuclockid(3))."""
        assert self._process is not None  # noqa: S101 - for the type checker
        with suppress(OSError):
            return time.clock_gettime(~self._process.pid << 3 | 2)
        return 0.0

    def _ending(self) -> str:
        """How the worker ended."""
        assert self._process is not None  # noqa: S101 - for the type checker
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            if code < 0:
                with suppress(ValueError):
                    return f"ended the worker process: {signal.Signals(-code).name}"
            return f"ended the worker process: exit code {code}"
        return "ended the worker process"


def _memory_of(data: bytes) -> int:
    """The descriptor of a file in memory with these bytes."""
    descriptor = os.memfd_create("tierfs-facts", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return descriptor
