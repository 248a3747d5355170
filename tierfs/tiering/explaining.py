"""Why a file belongs where it does: the rule, its reads, and what people asked for by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tierfs.index.inodes import Inode
from tierfs.policy.explain import Explanation, explain
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.context import Context
from tierfs.tiering.heat import Warmth
from tierfs.tiering.judge import Judge, last_read
from tierfs.tiering.waits import Waiting
from tierfs.tiering.wish import Wish


@dataclass(frozen=True, slots=True)
class Explained:
    """A file as it is, what the policy says of it, and the wish that follows, pins regarded."""

    inode: Inode
    explanation: Explanation
    wish: Wish
    warmth: Warmth | None
    """Its reads, decayed; None when none is known."""
    last_read: int | None
    """Nanoseconds since the epoch; None when it is not known."""
    waiting: Waiting | None
    """Why it is not where it belongs; None: it is."""
    pinned_by: bytes | None
    """The path of the directory that pins it; None: none does, or it has a pin of its own."""


def explained(
    context: Context, policy: Policy, inos: Sequence[int], now: int
) -> Iterator[Explained]:
    """For each of the inodes that is a regular file with a name, in ascending order.

    Raises:
        FsError: the index could not be read.
    """
    catalog, heat = context.ports.catalog, context.heat
    judge = Judge(catalog, heat, policy)
    rows = catalog.some(inos)
    paths = catalog.paths(rows)
    pinned = catalog.pinned(rows, now)
    for row, wish in judge.judged(rows, now):
        requests = [one for one in catalog.requests(row.ino - 1, 1) if one.ino == row.ino]
        yield Explained(
            row,
            explain(policy, judge.facts(row, paths, now)),
            wish,
            heat.look(row.ino, now),
            last_read(heat, row, now),
            context.waiting(row, wish, requests[0] if requests else None, now),
            None if (by := pinned.get(row.ino, row.ino)) == row.ino else catalog.directory_path(by),
        )
