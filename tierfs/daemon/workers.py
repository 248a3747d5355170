"""Worker processes, as the daemon starts them: one for a task, or one for tasks in a row.

``worker.py`` is what they run.
"""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from tierfs.common.errors import NotMounted, TierfsError
from tierfs.common.priority import LOW, LOWEST, lower_priority
from tierfs.common.units import MIB
from tierfs.daemon.interpreter import module_command
from tierfs.daemon.worker import receive, send

T = TypeVar("T")

KEPT_S: Final = 20.0
"""How long a process of `Workers` stays without a task."""
MOST_KEPT: Final = 128 * MIB
"""Bytes of memory of a process that stays; one that has grown further ends."""

_MODULE: Final = "tierfs.daemon.worker"
_POLL_S: Final = 0.2
"""Seconds between two calls of ``cancelled``."""


def never() -> bool:
    """For work that is not to be cancelled."""
    return False


def run_in_worker(
    function: Callable[..., T],
    *arguments: object,
    nice: int = LOWEST,
    cancelled: Callable[[], bool] = never,
) -> T:
    """Call ``function``, defined at the top of a module, in another process; returns its result.

    The process has a session of its own and this nice value (setpriority(2)). An argument that is a
    descriptor is `Passed`: the function is given a copy, which it need not close.

    Raises:
        What the function raises.
        NotMounted: ``cancelled`` returned True meanwhile; the process is killed.
        TierfsError: the process was killed by somebody else, or could not be started.
    """
    process = _Process()
    try:
        outcome = process.outcome(nice, function, arguments, cancelled)
    finally:
        process.end()
    result: T = _result(outcome)
    return result


class Workers:
    """As `run_in_worker`, for tasks that come one after another: a process stays for the next.

    To start one and to end it takes a tenth of a second of a processor, and page tables are made
    and torn down, which delays requests whatever its priority. Not for a function that changes its
    process, such as its limits.
    """

    def __init__(self) -> None:
        # A process is killed when the thread that started it ends: that of a request is too short.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="tierfs-start")
        self._lock = threading.Lock()
        self._idle: _Process | None = None
        self._expiry: threading.Timer | None = None
        self._closed = False

    def run(
        self,
        function: Callable[..., T],
        *arguments: object,
        cancelled: Callable[[], bool] = never,
    ) -> T:
        """Call ``function`` at the lowest priority; others may do so meanwhile.

        Raises:
            As `run_in_worker`.
        """
        process = self._taken() or self._started()
        try:
            outcome = process.outcome(LOWEST, function, arguments, cancelled)
        except BaseException:
            process.end()
            raise
        self._keep(process)
        result: T = _result(outcome)
        return result

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
        if (process := self._taken()) is not None:
            process.end()
        self._starter.shutdown(wait=False)  # those that have a task are killed with its thread

    def _started(self) -> _Process:
        try:
            return self._starter.submit(_Process).result()
        except RuntimeError as error:  # there is no thread, or it is closed
            raise TierfsError(f"a worker process cannot be started: {error}") from error

    def _taken(self) -> _Process | None:
        """The process that waits, unless somebody has killed it."""
        with self._lock:
            process, self._idle = self._idle, None
            if self._expiry is not None:
                self._expiry.cancel()
        if process is None or process.is_alive:
            return process
        process.end()
        return None

    def _keep(self, process: _Process) -> None:
        """Let a process wait, if none does."""
        with self._lock:
            if not self._closed and self._idle is None and process.memory() <= MOST_KEPT:
                self._expiry = threading.Timer(KEPT_S, self._expire, [process])
                self._expiry.daemon = True
                with suppress(RuntimeError):  # no thread can be started
                    self._expiry.start()
                    self._idle = process
                    return
        process.end()

    def _expire(self, process: _Process) -> None:
        with self._lock:
            if self._idle is not process:
                return
            self._idle = None
        process.end()


class _Process:
    """A process that does one task after another; it is killed when the thread that made it ends.

    Raises:
        TierfsError: it could not be started.
    """

    def __init__(self) -> None:
        try:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    module_command(_MODULE),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError as error:
            raise TierfsError(f"a worker process cannot be started: {error}") from error
        self._socket.settimeout(_POLL_S)
        lower_priority(LOW, self._process.pid)  # to start takes a tenth of a second of a processor

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Bytes of it that are in memory (proc_pid_statm(5)); none if it has ended."""
        try:
            words = Path(f"/proc/{self._process.pid}/statm").read_bytes().split()
            return int(words[1]) * resource.getpagesize()
        except (OSError, LookupError):
            return 0

    def outcome(
        self,
        nice: int,
        function: Callable[..., object],
        arguments: Sequence[object],
        cancelled: Callable[[], bool],
    ) -> tuple[bool, Any]:
        """Whether a function worked, and its result or its exception.

        Raises:
            NotMounted: ``cancelled`` returned True meanwhile.
            TierfsError: the process has ended.
        """
        with suppress(ConnectionError):
            send(self._socket, (nice, function, arguments))
            while True:
                with suppress(TimeoutError):
                    received = receive(self._socket)
                    if received is None:
                        break
                    outcome, _ = received
                    return bool(outcome[0]), outcome[1]
                if cancelled():
                    break
        if cancelled():
            raise NotMounted("the volume is being unmounted")
        raise TierfsError(f"a worker process {_ending(self._process.wait())}; try again")

    def end(self) -> None:
        """Kill it, and wait until it has ended."""
        with self._process, self._socket:
            self._process.kill()


def _result(outcome: tuple[bool, Any]) -> Any:  # noqa: ANN401 - of any function
    worked, value = outcome
    if not worked:
        raise value
    return value


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and no answer"
