"""Header facts: what was read out of the first bytes of files, by the extractors of `tierfs.facts`.

A fact holds while its `FactState` has the data version of the inode: a change of the bytes hides it
at once. A move between the tiers carries it. Before bytes of its file change in place, the index
that has the fact no more is synced (``tierfs/fs/dirty.py``): otherwise a power cut could bring back
a fact of bytes that the file no longer has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:  # a reader of rows needs no tables
    from tierfs.metadata.database import Database

FactValue: TypeAlias = int | float | str

LOOKED_AT: Final = -1
"""As the position of a pass: all files were looked at."""


class FactState(NamedTuple):
    """A row of the table; the columns are explained in ``schema.py``."""

    ino: int
    data_version: int
    extractor: str
    extractor_version: int
    error: str | None
    extracted: int


class FactPass(NamedTuple):
    """How far a pass over all files is; the columns are explained in ``schema.py``."""

    extractors: str = ""
    position: int = 0
    generation: str = ""


HELD_FACT: Final = """
SELECT value FROM fact JOIN fact_state USING (ino) WHERE ino = ? AND key = ? AND data_version = ?
"""
"""The value of a fact that holds; by inode number, key and data version."""

_STATE = ", ".join(FactState._fields)
_PUT_STATE = f"INSERT OR REPLACE INTO fact_state ({_STATE}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of our own
_PASS = ", ".join(FactPass._fields)
_HOLDS = "JOIN inode USING (ino) WHERE data_version = inode.version AND nlink > 0"
_ERRORS = f"""
SELECT {", ".join(f"fact_state.{name}" for name in FactState._fields)} FROM fact_state {_HOLDS}
AND error IS NOT NULL AND ino > ? ORDER BY ino LIMIT ?
"""  # noqa: S608
_CARRY = """
UPDATE fact_state SET data_version = data_version + 1 WHERE ino = ? AND data_version = ?
"""


class HeaderFacts:
    """By inode number; those that change something are called inside a transaction.

    Raises from every method:
        IndexFailed: SQLite failed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.any = database.row("SELECT 1 FROM fact_state LIMIT 1") is not None
        """Whether a file may have some: where none has, nothing is asked."""

    def state(self, ino: int, version: int) -> FactState | None:
        """What is known of a file with this data version; None: it was not looked at."""
        row = self._database.row(f"SELECT {_STATE} FROM fact_state WHERE ino = ?", ino)  # noqa: S608
        found = None if row is None else FactState._make(row)
        return found if found is not None and found.data_version == version else None

    def find(self, ino: int, version: int, key: str) -> FactValue | None:
        """A fact that holds of a file with this data version; None: it is not known."""
        row = self._database.row(HELD_FACT, ino, key, version)
        return None if row is None else row[0]

    def put(self, state: FactState, facts: Mapping[str, FactValue]) -> None:
        """Store all that is known of a file, in place of what was."""
        self.any = True
        self._database.execute("DELETE FROM fact WHERE ino = ?", state.ino)
        self._database.execute(_PUT_STATE, *state)
        self._database.insert_many(
            "fact (ino, key, value)", [(state.ino, key, value) for key, value in facts.items()]
        )

    def end(self, ino: int) -> bool:
        """The bytes of a file are about to change; returns whether it had been looked at."""
        return self._database.execute("DELETE FROM fact_state WHERE ino = ?", ino) > 0

    def carry(self, ino: int, version: int) -> None:
        """The data version grows by 1, and the bytes of the file stay as they are."""
        if self.any:
            self._database.execute(_CARRY, ino, version)

    def errors(self, after: int, limit: int) -> Sequence[FactState]:
        """The first files behind ``after`` whose headers could not be read."""
        return [FactState._make(row) for row in self._database.rows(_ERRORS, after, limit)]

    def progress(self) -> FactPass:
        """How far the pass over all files is."""
        row = self._database.row(f"SELECT {_PASS} FROM fact_pass")  # noqa: S608
        return FactPass() if row is None else FactPass._make(row)

    def set_progress(self, progress: FactPass) -> None:
        """Store how far it is."""
        self._database.execute(f"UPDATE fact_pass SET ({_PASS}) = (?, ?, ?)", *progress)  # noqa: S608
