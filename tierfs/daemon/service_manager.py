"""Notifications to the service manager that started the daemon; see sd_notify(3).

A unit of ``Type=notify`` is started when the mount answers, so nothing that is ordered after it
sees the bare directory. Without a service manager (no ``NOTIFY_SOCKET``) nothing is sent.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG_PERIOD: Final = "WATCHDOG_USEC"
WATCHDOG_PROCESS: Final = "WATCHDOG_PID"
MICROSECONDS: Final = 1_000_000


def ready(status: str) -> None:
    """The mount answers; ``status`` is shown by systemctl(1)."""
    _send(f"READY=1\nSTATUS={status}")


def stopping() -> None:
    """The mount has ended, and the volume is being closed."""
    _send("STOPPING=1\nSTATUS=closing the volume")


def alive() -> None:
    """Keep the watchdog quiet for another period."""
    _send("WATCHDOG=1")


def watchdog_seconds() -> float | None:
    """The period within which ``alive`` must be called; None where no watchdog waits for it.

    sd_watchdog_enabled(3): the period is meant for one process.
    """
    period, process = os.environ.get(WATCHDOG_PERIOD, ""), os.environ.get(WATCHDOG_PROCESS)
    if not period.isdecimal() or int(period) == 0 or process not in (None, str(os.getpid())):
        return None
    return int(period) / MICROSECONDS


def _send(state: str) -> None:
    address = os.environ.get(SOCKET, "")
    if address[:1] not in {"/", "@"}:
        return
    # An abstract address begins with NUL in unix(7), and with @ in the environment.
    where = "\0" + address[1:] if address[0] == "@" else address
    # A service manager that ended, or does not listen, must not end the mount.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        sender.sendto(state.encode("utf-8", "surrogateescape"), where)
