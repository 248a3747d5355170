"""What is wished for files: the policy's decision on the facts of each, and pins by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from tierfs.base.durations import SECOND
from tierfs.index.inodes import Inode
from tierfs.policy.conditions import PathFits
from tierfs.policy.decide import decide
from tierfs.policy.facts import Facts
from tierfs.policy.match import AllOf, AnyOf, Match, Not
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.heat import REMEMBERED, Heat
from tierfs.tiering.ports import Catalog
from tierfs.tiering.wish import LEFT_ALONE, Wish, by_hand, wish_of

Judged: TypeAlias = tuple[Inode, Wish]


class Judge:
    """Tells wishes; ``policy`` None: nothing is wished for but what is pinned by hand."""

    def __init__(self, catalog: Catalog, heat: Heat, policy: Policy | None) -> None:
        self._catalog = catalog
        self._heat = heat
        self._policy = policy
        self._by_path = policy is not None and any(_asks_path(rule.match) for rule in policy.rules)

    @property
    def evicts(self) -> bool:
        """Whether anything may go from flash by itself: without a policy nothing may."""
        return self._policy is not None

    def judged(self, rows: Sequence[Inode], now: int) -> Iterator[Judged]:
        """Each file, in ascending order of numbers, with the wish for it."""
        if not rows:
            return
        pinned = self._catalog.pinned(rows, now)
        paths = self._catalog.paths(rows) if self._by_path else {}
        for row in rows:
            wish = self._wish(row, paths, now)
            yield row, by_hand(wish) if row.ino in pinned else wish

    def _wish(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Wish:
        if self._policy is None:
            return LEFT_ALONE
        decision = decide(self._policy, self.facts(row, paths, now))
        return wish_of(decision, self._reads_of(row.ino, now))

    def facts(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Facts:
        """What the policy decides by."""
        return Facts(
            now=now,
            size=row.size,
            modified=row.mtime,
            last_read=last_read(self._heat, row, now),
            uid=row.uid,
            gid=row.gid,
            find_paths=lambda: paths.get(row.ino, ()),
            find_xattr=lambda name: self._catalog.xattr(row.ino, name),
            count_reads=self._reads_of(row.ino, now),
        )

    def _reads_of(self, ino: int, now: int) -> Callable[[int], int | None]:
        return lambda within: reads_within(self._heat, ino, within, now)


def last_read(heat: Heat, row: Inode, now: int) -> int | None:
    """When a file was last read, at the latest; None when that is not known.

    A file that heat would know if it had been read was not, for as long as heat is kept.
    """
    visits = heat.visits(row.ino, now)
    if visits is not None:
        return now - int(visits.age * SECOND)
    if heat.since is None or not heat.has_room(row.ino):
        return None
    return min(now, max(heat.since, row.ctime))


def reads_within(heat: Heat, ino: int, within: int, now: int) -> int | None:
    """About how many times a file was read in the last ``within`` nanoseconds.

    Reads in pieces count once. Of more than 16 intervals only the mean is known.
    """
    visits = heat.visits(ino, now)
    if visits is None:
        return 0 if heat.has_room(ino) else None
    intervals, mean, age = visits
    left = within / SECOND - age
    if left < 0:
        return 0
    fitting = 1 + (int(left / mean) if intervals and mean > 0 else 0)
    return fitting if intervals == REMEMBERED else min(fitting, intervals + 1)


def _asks_path(match: Match) -> bool:
    if isinstance(match, AllOf | AnyOf):
        return any(_asks_path(part) for part in match.parts)
    return _asks_path(match.part) if isinstance(match, Not) else isinstance(match, PathFits)
