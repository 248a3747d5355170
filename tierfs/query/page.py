"""Some rows of the index, and what is found for all of them at once when one test asks for it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tierfs.metadata.inodes import ROOT

if TYPE_CHECKING:
    from tierfs.metadata.finding import Finder
    from tierfs.metadata.inode_sql import Found
    from tierfs.tiering.heat import Heat


class World(NamedTuple):
    """What is known beside the rows; ``now`` in nanoseconds since the epoch."""

    reader: Finder
    heat: Heat
    now: int


class Page:
    """Rows, and what tests ask of them. Texts as `os.fsdecode` makes them."""

    def __init__(self, world: World, rows: Sequence[Found]) -> None:
        self._world = world
        self._rows = rows
        self._paths: dict[int, list[bytes]] | None = None
        self._pinned: dict[int, int] | None = None
        self._tags: dict[int, dict[str, str]] | None = None
        self._facts: dict[int, dict[str, int | float | str]] | None = None

    def paths(self, row: Found) -> list[str]:
        """Its paths from the root, in the directory that it was last linked in.

        Raises:
            IndexFailed: SQLite failed.
        """
        if row.ino == ROOT:
            return ["/"]
        if self._paths is None:
            self._paths = self._world.reader.paths(self._rows)
        # As os.fsdecode() does, which is slower.
        return [path.decode("utf-8", "surrogateescape") for path in self._paths.get(row.ino, ())]

    def path(self, row: Found) -> str | None:
        """The first of them; None: it is just being removed."""
        paths = self.paths(row)
        return paths[0] if len(paths) == 1 else min(paths, default=None)

    def name(self, row: Found) -> str | None:
        """The last component of that."""
        path = self.path(row)
        return None if path is None else path.rpartition("/")[2]

    def is_pinned(self, row: Found) -> bool:
        """Whether it, or a directory above it, is pinned.

        Raises:
            IndexFailed: SQLite failed.
        """
        if self._pinned is None:
            self._pinned = self._world.reader.pinned(self._rows, self._world.now)
        return row.ino in self._pinned

    def tags(self, row: Found) -> dict[str, str]:
        """Its attributes ``user.``.

        Raises:
            IndexFailed: SQLite failed.
        """
        if self._tags is None:
            self._tags = self._world.reader.tags([one.ino for one in self._rows])
        return self._tags.get(row.ino, {})

    def facts(self, row: Found) -> dict[str, int | float | str]:
        """Its header facts that hold.

        Raises:
            IndexFailed: SQLite failed.
        """
        if self._facts is None:
            self._facts = self._world.reader.facts([one.ino for one in self._rows])
        return self._facts.get(row.ino, {})

    def idle(self, row: Found) -> int | None:
        """Nanoseconds since it was last read; None: that is not known."""
        read = self._world.heat.last_read(row.ino, row.ctime, self._world.now)
        return None if read is None else max(0, self._world.now - read)

    def warmth(self, row: Found) -> float | None:
        """How many reads of it are remembered, decayed; None: it has no bytes to read."""
        if not stat.S_ISREG(row.mode):
            return None
        known = self._world.heat.look(row.ino, self._world.now)
        return 0.0 if known is None else known.reads
