"""The orders of users: pins, which keep files on flash, and requests to move a file once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a reader of rows needs no tables
    from tierfs.metadata.database import Database


class Pin(NamedTuple):
    """A file stays on flash until a time in nanoseconds since the epoch; None: without end.

    With ``below`` 1 the inode is a directory, and every file in and below it does, now and later.
    """

    ino: int
    until: int | None
    below: int = 0

    def holds(self, now: int) -> bool:
        """Whether it has not ended."""
        return self.until is None or self.until > now


class Request(NamedTuple):
    """A file is to be moved so that ``prefix`` bytes of it are on flash."""

    ino: int
    prefix: int


class PinsAndRequests:
    """By inode number; those that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pin(self, pin: Pin) -> None:
        """Keep a file on flash; replaces an earlier pin."""
        self._database.execute(
            "INSERT OR REPLACE INTO pin (ino, until, below) VALUES (?, ?, ?)", *pin
        )

    def unpin(self, ino: int) -> bool:
        """Remove a pin; False: there was none."""
        return self._database.execute("DELETE FROM pin WHERE ino = ?", ino) > 0

    def pin_of(self, ino: int) -> Pin | None:
        """The file's pin, also one that has ended."""
        row = self._database.row("SELECT ino, until, below FROM pin WHERE ino = ?", ino)
        return None if row is None else Pin._make(row)

    def pins_directories(self) -> bool:
        """Whether a directory is pinned."""
        return self._database.row("SELECT 1 FROM pin WHERE below = 1 LIMIT 1") is not None

    def request(self, request: Request) -> None:
        """Store a request to move a file; replaces an earlier one."""
        self._database.execute(
            "INSERT OR REPLACE INTO request (ino, prefix) VALUES (?, ?)", *request
        )

    def request_of(self, ino: int) -> Request | None:
        """The file's request, if it is not done yet."""
        row = self._database.row("SELECT ino, prefix FROM request WHERE ino = ?", ino)
        return None if row is None else Request._make(row)

    def settle(self, request: Request) -> None:
        """A request was fulfilled, or cannot be; a newer one for another prefix stays."""
        self._database.execute(
            "DELETE FROM request WHERE ino = ? AND prefix = ?", request.ino, request.prefix
        )

    def forget(self, *inos: int) -> None:
        """Remove the pins and requests of deleted inodes."""
        self._database.delete_for("pin", inos)
        self._database.delete_for("request", inos)
