"""Why a file belongs where it does: the rule, its reads, and what people asked for by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tierfs.index.inodes import Inode
from tierfs.policy.explain import Explanation, explain
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.heat import Heat, Warmth
from tierfs.tiering.judge import Judge, last_read
from tierfs.tiering.ports import Catalog
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


def explained(
    catalog: Catalog, heat: Heat, policy: Policy, inos: Sequence[int], now: int
) -> Iterator[Explained]:
    """For each of the inodes that is a regular file with a name, in ascending order.

    Raises:
        FsError: the index could not be read.
    """
    judge = Judge(catalog, heat, policy)
    rows = catalog.some(inos)
    paths = catalog.paths(rows)
    for row, wish in judge.judged(rows, now):
        reasons = explain(policy, judge.facts(row, paths, now))
        yield Explained(row, reasons, wish, heat.look(row.ino, now), last_read(heat, row, now))
