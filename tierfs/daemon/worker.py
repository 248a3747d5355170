"""The subprocess worker: long work in a process of its own, so that it delays no request.

``run_in_worker`` is the daemon's side. The process runs this module as a program: it reads a task
from standard input and writes the outcome to standard output. The function, its arguments and its
result are pickled: both sides are this very program, and nobody else holds the pipes.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from tierfs.common.errors import NotMounted, TierfsError
from tierfs.common.priority import (
    LOW,
    LOWEST,
    StarvationGuard,
    die_with_parent,
    lower_priority,
)
from tierfs.daemon.interpreter import module_command

T = TypeVar("T")

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
    descriptors: Sequence[int] = (),
    cancelled: Callable[[], bool] = never,
) -> T:
    """Call ``function``, defined at the top of a module, in another process; returns its result.

    It has a session of its own and this nice value (setpriority(2)). ``descriptors`` are inherited.

    Raises:
        What the function raises.
        NotMounted: ``cancelled`` returned True meanwhile; the process is killed.
        TierfsError: the process was killed by somebody else, or could not be started.
    """
    try:
        # A file in memory, not a pipe: no thread has to feed it to a process that starts slowly.
        with os.fdopen(os.memfd_create("tierfs-task", os.MFD_CLOEXEC), "wb+") as task:
            pickle.dump((nice, function, arguments), task)
            task.seek(0)
            process = subprocess.Popen(
                module_command(_MODULE),
                stdin=task,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
            )
    except OSError as error:
        raise TierfsError(f"a worker process cannot be started: {error}") from error
    lower_priority(LOW, process.pid)  # to start takes a tenth of a second of a processor
    with process:
        try:
            reply = _reply(process, cancelled)
        finally:
            process.kill()
    try:
        worked, result = pickle.loads(reply)  # noqa: S301 - from our own process
    except (EOFError, pickle.UnpicklingError) as error:
        raise TierfsError(f"a worker process {_ending(process.returncode)}; try again") from error
    if not worked:
        raise result
    value: T = result
    return value


def _reply(process: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> bytes:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_POLL_S)[0]
        if cancelled():
            raise NotMounted("the volume is being unmounted")


def _ending(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and no answer"


def main() -> None:
    """The worker process: do one task."""
    die_with_parent()
    # Nothing but the reply may go there, whatever a library prints.
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Loading the task imports the modules that it needs.
    nice, function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own daemon
    lower_priority(nice)
    if nice == LOWEST:
        StarvationGuard().watch()
    try:
        outcome = True, function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again by the daemon
        outcome = False, error
    with reply:
        pickle.dump(outcome, reply)


if __name__ == "__main__":
    main()
