"""The signals of a daemon: SIGTERM and SIGINT unmount, SIGHUP reloads the policy.

A terminal that is closed also sends SIGHUP to its foreground processes. The daemon then unmounts,
as at Ctrl-C, unless nohup(1) started it.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

log = logging.getLogger(__name__)

Action = Callable[[], Awaitable[None]]

TERMINAL: Final = "/dev/tty"
"""The controlling terminal, tty(4); a process that has none cannot open it."""


@contextmanager
def hangups_ignored() -> Iterator[bool]:
    """A block in which SIGHUP does not end the process, while ``handle_signals`` does not run.

    The value says whether a SIGHUP from the terminal that is closed means the end.
    """
    before = signal.getsignal(signal.SIGHUP)
    follows = before is not signal.SIG_IGN and has_terminal()
    # Not SIG_IGN, which programs started from here would inherit.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    try:
        yield follows
    finally:
        signal.signal(signal.SIGHUP, before)


async def handle_signals(
    unmount: Action,
    reload: Action,
    *,
    follows_terminal: bool,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``unmount`` or ``reload`` at each signal; ``unmount`` once at a time."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async with trio.open_nursery() as reloading, trio.open_nursery() as unmounting:
            async for number in signals:
                name = signal.Signals(number).name
                if number == signal.SIGHUP and not (follows_terminal and not has_terminal()):
                    log.info("%s: reading the tier policy again", name)
                    reloading.start_soon(_guarded, name, reload)
                else:
                    log.info("%s: unmounting", name)
                    if not unmounting.child_tasks:
                        unmounting.start_soon(_guarded, name, unmount)


async def _guarded(name: str, action: Action) -> None:
    """A failure must not end the mount; the next signal tries again."""
    try:
        await action()
    except Exception:
        log.exception("%s: an unexpected failure, which must not end the mount", name)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
