"""The change feed for other programs: the control verbs of `tierfs changes`."""

from __future__ import annotations

from typing import Any, Final

from tierfs.backup.files import BACKUP, COPY
from tierfs.common.errors import TierfsError, UsageError
from tierfs.facts.gathering import READER
from tierfs.metadata.changes import VERSION, record_of
from tierfs.metadata.index import Index

MOST: Final = 500
"""Changes in an answer: a millisecond, for which writers wait."""

OWN: Final = frozenset({BACKUP, COPY, READER})
NAMELESS: Final = "process "
"""What the name of a reader begins with that is forgotten at its end: a process and its number."""
FROM_READER: Final = -1
"""As ``after``: continue where the reader is."""


def forget_nameless(index: Index) -> None:
    """Let readers without a name of their own go: of an earlier mount no process follows this one.

    Raises:
        IndexFailed: SQLite failed.
    """
    for reader in index.feed.readers():
        if reader.name.startswith(NAMELESS):
            index.feed.unregister(reader.name)


class ChangeFeed:
    """The feed of a mount. Thread-safe."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def changes(self, reader: str, after: int) -> dict[str, Any]:
        """The next changes behind a serial, all of them durable; the reader is past those before.

        Raises:
            UsageError: the reader's name is one of the daemon's own, or empty.
            TrimmedAway: the reader is too far behind.
            TierfsError: the index could not be read, or its log not be synced; or its filesystem is
                full: what would be missed meanwhile, nobody would know.
        """
        _require_free(reader)
        feed = self._index.feed
        position = feed.register(reader)
        if not feed.is_written:
            raise TierfsError(
                "no changes are written while the filesystem of the index is full: make room, "
                "then start over"
            )
        if after == FROM_READER:
            after = position
        elif after > position:
            feed.advance(reader, after)
        rows = feed.read(after, MOST)
        if rows:
            self._index.sync()
        return {
            "version": VERSION,
            "generation": feed.generation,
            "changes": [record_of(row) for row in rows],
            "next": rows[-1][0] if rows else after,
        }

    def forget(self, reader: str) -> dict[str, Any]:
        """Let a reader go, so that nothing is kept for it.

        Raises:
            UsageError: it is one of the daemon's own.
        """
        _require_free(reader)
        self._index.feed.unregister(reader)
        return {}


def _require_free(reader: str) -> None:
    if not reader or reader in OWN:
        raise UsageError(f"a reader of the change feed cannot be called {reader!r}")
