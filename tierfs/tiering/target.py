"""The policy evaluator: where the policy wants a file.

A target follows from the decision of the policy (`tierfs.policy.model`) and the reads of the file.
`PolicyEvaluator` finds the targets of many rows of the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import fsdecode

from tierfs.common.units import SECOND
from tierfs.metadata.inodes import Inode
from tierfs.policy.match import Facts, conditions_of
from tierfs.policy.model import Decider, Decision, Policy
from tierfs.tiering.heat import MOST_INTERVALS, Heat
from tierfs.tiering.model import LEFT_ALONE, Evaluated, Reason, Target, pinned_by_hand
from tierfs.tiering.ports import CatalogReader


def target_of(decision: Decision, reads: Callable[[int], int | None]) -> Target:
    """Where a policy wants a file; ``reads`` counts its reads within some nanoseconds."""
    settings = decision.settings
    promote, prefix = settings.promote, settings.head
    reason: Reason = "pin" if settings.pin else "head" if prefix else "head: none"
    if promote is not None and (reads(promote.within) or 0) >= promote.reads:
        prefix, reason = max(prefix, promote.to), reason if settings.pin else "promote"
    return Target(
        rule=decision.rule,
        prefix=prefix,
        head=settings.head,
        most=max(settings.head, promote.to if promote else 0),
        pinned=settings.pin,
        mirror=settings.mirror != "never",
        evict=settings.evict,
        rank=settings.eviction_rank,
        reason=reason,
        at_sync=settings.mirror == "sync",
    )


class RowFacts(Facts):
    """A file's facts out of its row of the index; what is costly is found when it is asked for."""

    __slots__ = ("_catalog", "_heat", "_names")

    row: Inode

    def __init__(
        self, row: Inode, names: Sequence[bytes], now: int, catalog: CatalogReader, heat: Heat
    ) -> None:
        # Not by the constructor of `Facts`: this is done for every file that is looked at.
        self.now = now
        self.row = row
        self._names = names
        self._catalog = catalog
        self._heat = heat
        self._paths = None

    @property
    def idle(self) -> int | None:
        """As `Facts`."""
        read = self._heat.last_read(self.row.ino, self.row.ctime, self.now)
        return None if read is None else max(0, self.now - read)

    @property
    def paths(self) -> list[str]:
        """As `Facts`."""
        if self._paths is None:
            # As os.fsdecode() does, which is slower: this is most of what a rule about paths costs.
            self._paths = [name.decode("utf-8", "surrogateescape") for name in self._names]
        return self._paths

    def xattr(self, name: str) -> str | None:
        """As `Facts`; asked for again each time, which is seldom more than once."""
        value = self._catalog.xattr(self.row.ino, name.encode())
        return None if value is None else fsdecode(value)

    def header_fact(self, name: str) -> float | str | None:
        """As `Facts`."""
        return self._catalog.header_fact(self.row.ino, self.row.version, name)

    def reads(self, within: int) -> int | None:
        """As `Facts`."""
        return reads_within(self._heat, self.row.ino, within, self.now)


class PolicyEvaluator:
    """Tells the target of each file: the policy's decision on its facts, and pins by hand.

    Without a policy (None) only what is pinned by hand has a target. ``rest`` is called again and
    again, for instance to let other threads have the interpreter.
    """

    def __init__(
        self,
        catalog: CatalogReader,
        heat: Heat,
        policy: Policy | None,
        rest: Callable[[], object] | None = None,
    ) -> None:
        self._catalog = catalog
        self._heat = heat
        self._rest = rest
        self._decider = None if policy is None else Decider(policy, rest)
        self._by_path = policy is not None and any(
            one.needs_paths for rule in policy.rules for one in conditions_of(rule.match)
        )
        self._targets: dict[str | None, Target] = {}

    @property
    def evicts(self) -> bool:
        """Whether anything may go from flash by itself: without a policy nothing may."""
        return self._decider is not None

    def evaluate(self, rows: Sequence[Inode], now: int) -> Iterator[Evaluated]:
        """Each file, in ascending order of numbers, with its target."""
        if not rows:
            return
        rest = self._rest
        pinned = self._catalog.pinned(rows, now)
        if rest:
            rest()
        paths = self._catalog.paths(rows) if self._by_path else {}
        for row in rows:
            if rest:
                rest()
            target = self._target(row, paths, now)
            yield row, pinned_by_hand(target) if row.ino in pinned else target

    def _target(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Target:
        if self._decider is None:
            return LEFT_ALONE
        facts = self.facts(row, paths, now)
        decision = self._decider.decide(facts)
        target = self._targets.get(decision.rule)
        if target is not None:
            return target
        target = target_of(decision, facts.reads)
        if decision.settings.promote is None:  # the same for every file that the rule holds for
            self._targets[decision.rule] = target
        return target

    def facts(self, row: Inode, paths: Mapping[int, Sequence[bytes]], now: int) -> Facts:
        """What the policy decides by."""
        return RowFacts(row, paths.get(row.ino, ()), now, self._catalog, self._heat)


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
    return fitting if intervals == MOST_INTERVALS else min(fitting, intervals + 1)
