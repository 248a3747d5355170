"""Rows as lines of JSON, many in each, from a worker process straight to the client of the daemon.

The daemon, which has other things to do, sees none of them. A client that takes nothing for a while
is given up; one that has gone ends the work with the next row.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from tierfs.common.errors import UsageError

PATIENCE_S: Final = 60.0
"""How long a client may take nothing."""

TOGETHER: Final = 1000
"""Rows of a line."""
LONGEST: Final = 1 << 20
"""Bytes of a line, but for one that has a single row."""


def lines(rows: Sequence[object]) -> Iterator[bytes]:
    """Rows as lines of JSON: a list of rows each."""
    for at in range(0, len(rows), TOGETHER):
        yield from _short_lines(rows[at : at + TOGETHER])


def _short_lines(rows: Sequence[object]) -> Iterator[bytes]:
    line = json.dumps(rows).encode("ascii") + b"\n"
    if len(line) <= LONGEST or len(rows) == 1:
        yield line
        return
    half = len(rows) // 2
    yield from _short_lines(rows[:half])
    yield from _short_lines(rows[half:])


class Stream:
    """Sends to a connected socket, by a copy of its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._socket.settimeout(PATIENCE_S)

    def close(self) -> None:
        """Close the copy."""
        self._socket.close()

    def send(self, rows: Sequence[object]) -> None:
        """Send rows.

        Raises:
            UsageError: the client has gone, or takes nothing.
        """
        for line in lines(rows):
            self.send_lines(line)

    def send_lines(self, data: bytes) -> None:
        """Send rows that are lines already, or a piece of them.

        Raises:
            UsageError: as `send`.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise UsageError(f"the answer is not taken any more: {error}") from error
