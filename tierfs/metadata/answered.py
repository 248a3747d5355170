"""Requests whose change is committed, and which may have no reply yet.

Only those whose change cannot be told from what it left; see ``tierfs.daemon.resent``. The numbers
are of one connection to the kernel: another begins anew.
"""

from __future__ import annotations

from threading import get_ident

from tierfs.metadata.database import Database


class AnsweredRequests:
    """By number; each thread has its last one. ``note`` is called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._threads: dict[int, int] = {}
        self._first = 0
        self._earlier: frozenset[int] = frozenset()

    def begin(self) -> None:
        """A new connection: what an earlier one left means nothing."""
        if self._database.row("SELECT 1 FROM answered"):
            with self._database:
                self._database.execute("DELETE FROM answered")

    def take_over(self) -> None:
        """The same connection goes on in this process: the rows stay, under other numbers."""
        rows = self._database.rows("SELECT thread, request FROM answered")
        self._first = max((thread for thread, _ in rows), default=-1) + 1
        self._earlier = frozenset(request for _, request in rows)

    def has(self, request: int) -> bool:
        """Whether an earlier daemon of the connection committed the change of the request."""
        return request in self._earlier

    def note(self, request: int) -> None:
        """The transaction changes what the request asks for. The thread replied to its last one."""
        thread = self._threads.setdefault(get_ident(), self._first + len(self._threads))
        self._database.execute("INSERT OR REPLACE INTO answered VALUES (?, ?)", thread, request)
