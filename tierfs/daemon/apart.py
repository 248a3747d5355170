"""Long work in a process of its own: requests wait neither for its interpreter nor for a core.

Here the daemon's side; `tierfs.daemon.apart_main` is the other. The function, its arguments and
what it returns are pickled: both sides are this very program, and nobody else holds the pipes.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from tierfs.common.errors import NotMounted, TierfsError
from tierfs.daemon.interpreter import module_command

T = TypeVar("T")

_MODULE: Final = "tierfs.daemon.apart_main"
_LOOK_EVERY_S: Final = 0.2


def never() -> bool:
    """For work that is not to be given up."""
    return False


def run_apart(
    function: Callable[..., T],
    *arguments: object,
    idle: bool = True,
    descriptors: Sequence[int] = (),
    ended: Callable[[], bool] = never,
) -> T:
    """What ``function``, which a module has at its top, returns in another process.

    ``idle``: it takes only time of the processors that nobody else wants; else it comes last.

    Raises:
        What the function raises.
        NotMounted: ``ended`` meanwhile; the process is killed.
        TierfsError: the process was killed by somebody else, or could not be started.
    """
    try:
        # In memory, not a pipe: the process reads it when it gets to it, and nobody has to feed it.
        with os.fdopen(os.memfd_create("tierfs-task", os.MFD_CLOEXEC), "wb+") as task:
            pickle.dump((idle, function, arguments), task)
            task.seek(0)
            process = subprocess.Popen(
                module_command(_MODULE),
                stdin=task,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
    except OSError as error:
        raise TierfsError(f"a process for long work cannot be started: {error}") from error
    with process:
        try:
            reply = _reply(process, ended)
        finally:
            process.kill()
    try:
        worked, result = pickle.loads(reply)  # noqa: S301 - from our own process
    except (EOFError, pickle.UnpicklingError) as error:
        how = _how_it_ended(process.returncode)
        raise TierfsError(f"a process for long work {how}; try again") from error
    if not worked:
        raise result
    value: T = result
    return value


def _reply(process: subprocess.Popen[bytes], ended: Callable[[], bool]) -> bytes:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK_EVERY_S)[0]
        if ended():
            raise NotMounted("the volume is being unmounted")


def _how_it_ended(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and no answer"
