"""A flash under a tier policy, driven by the lines of an access log, as a mount's engine drives it.

The deciders are the mount's: which rule holds (`tierfs.policy`), what follows from it
(`tierfs.tiering.target`), who comes in and who goes (`tierfs.tiering.selection`, ``replacement``),
and how full flash may be (`tierfs.fs.allocation`, `tierfs.tiering.watermarks`). What differs:
files are met when the log names them, moves take no time beyond the mover's rate, and of the files
on flash a few are looked at by chance where the engine scans the index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from tierfs.common.units import SECOND
from tierfs.fs.allocation import is_short, limits_of, share
from tierfs.metadata.inodes import Inode
from tierfs.policy.model import Policy
from tierfs.storage.objects import Space
from tierfs.tiering.access_log import Beginning, FileFacts, Gone, Line, Recording, Use
from tierfs.tiering.heat import Heat
from tierfs.tiering.model import DEBOUNCE, Target, due, missing, on_flash, wants_mirror
from tierfs.tiering.replay.flash import Allowance, Answered, FilesOnFlash, Ledger, answered
from tierfs.tiering.replay.logged_files import LoggedFiles
from tierfs.tiering.selection import (
    Candidate,
    EvictionPool,
    Resident,
    Swap,
    candidate_of,
    forced,
    promotions,
    resident_of,
    to_evict,
)
from tierfs.tiering.watermarks import levels_of

KNOWN: Final = 2**19
"""Files that the heat table has room for."""

TICK: Final = SECOND
"""Nanoseconds between two times at which the files that ask for flash are weighed together."""

LOOK: Final = 2
"""Files on flash looked at for each one that asks."""

REMEMBERED: Final = 64
"""The coldest of those that are kept in mind."""

SCAN: Final = 3600 * SECOND
"""Nanoseconds after which pinned files that found no room ask again, and all files are looked at
where rules depend on time; not before a quarter as many uses as there are files, so that it costs
little.
"""


class SimulatedFlash:
    """``capacity`` bytes of flash. `play` every line of a log in order, then `end`.

    ``known`` is how many files the heat table has room for; ``note`` is called with each line of
    reads and the bytes that flash answered.
    """

    def __init__(
        self,
        policy: Policy,
        capacity: int,
        known: int = KNOWN,
        note: Callable[[Use, Answered], None] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._note = note
        self._capacity = capacity
        self._limits = limits_of(policy)
        self._levels = levels_of(policy.flash, self._space().capacity)
        self._heat = Heat(known)
        self._files = LoggedFiles(policy, self._heat)
        self._on_flash = FilesOnFlash()
        self._pool = EvictionPool(REMEMBERED)
        self._everyone: list[Resident] | None = None
        """All that may go, as long as nothing has moved in this tick."""
        self._allowance = Allowance(policy.mover)
        self._random = Random(0)
        self._now = self._ticked = self._scanned = 0
        self._used_since_scan = 0
        self._candidates: dict[int, None] = {}
        self._waiting: dict[int, None] = {}
        self._debounce: dict[int, int] = {}

    def play(self, line: Line) -> None:
        """What the next line of the log says happens. Time never goes back."""
        if isinstance(line, Use):
            self._go_on(line.time)
            self._write(line) if line.write else self._read(line)
        elif isinstance(line, FileFacts):
            self._meet(line)
        elif isinstance(line, Gone):
            self._remove(line.ino)

    def end(self) -> Ledger:
        """Do what was put off; what was counted."""
        self._go_on(self._now + DEBOUNCE)
        self._scan()
        return self.ledger

    # ------------------------------------------------------------ what happens to a file
    def _read(self, use: Use) -> None:
        inode = self._files.seen(use)
        from_flash = answered(use, inode.size, inode.prefix)
        self.ledger.count(use, from_flash)
        if self._note is not None:
            self._note(use, from_flash)
        self._heat.feed(((use.ino, use.reads, use.size),), self._now)
        self._files.was_read(use.ino)
        self._pool.forget(use.ino)
        self._used_since_scan += 1
        target = self._files.target(inode, self._now)
        if missing(inode, target.prefix):
            self._candidates[use.ino] = None
        elif not target.prefix:
            self._consider(inode)

    def _write(self, use: Use) -> None:
        seen = self._files.seen(use)
        before, grown_from = on_flash(seen), seen.size
        inode = self._files.written(use, self._now)
        # A file gets the head of the volume where flash has room for new ones, as on a mount. A
        # pinned one that has come up grows on flash; else the rest of it comes later, by the mover.
        pinned = self._files.target(inode, self._now).pinned
        follows = pinned and before == grown_from > self._limits.head
        prefix = inode.size if follows else max(before, self._limits.head)
        if not before and is_short(self._space(), self._limits):
            prefix = 0
        wanted = min(inode.size, prefix)
        fits = wanted - before <= self._capacity - self.ledger.used
        self._put(inode, before, wanted if fits else min(before, inode.size))
        self._debounce[use.ino] = self._now
        self._pool.forget(use.ino)
        self._used_since_scan += 1
        self._relieve()

    def _meet(self, facts: FileFacts) -> None:
        """A file that is new to us has on flash what the log says, if that fits."""
        known = self._files.find(facts.ino)
        before = on_flash(known) if known else 0
        inode = self._files.told(facts)
        wanted = min(inode.size, before if known else facts.head)
        fits = bool(known) or wanted <= self._levels.headroom(self.ledger.used)
        self._put(inode, before, wanted if fits else 0)
        self._consider(self._files.get(facts.ino))
        self._relieve()

    def _remove(self, ino: int) -> None:
        inode = self._files.find(ino)
        if inode is not None:
            self._put(inode, on_flash(inode), 0)
            self._files.forget(ino)
            self._heat.forget(ino)
            self._pool.forget(ino)
            self._candidates.pop(ino, None)
            self._waiting.pop(ino, None)
            self._debounce.pop(ino, None)

    def _consider(self, inode: Inode) -> None:
        """Move it, whether it is read or not, when it is pinned or nothing of it belongs there."""
        target = self._files.target(inode, self._now)
        called = due(inode, target)
        if called is not None and called.prefix == 0:
            self._place(inode, 0, target)
        elif called is not None:
            self._candidates[inode.ino] = None

    # ------------------------------------------------------------ what happens every second
    def _go_on(self, until: int) -> None:
        """Let time pass: what is asked for is done a second later, however long nothing happens."""
        if self._heat.since is None:
            self._heat.since = self._now = self._ticked = self._scanned = until
        if until - self._ticked >= TICK:
            self._now = min(until, max(self._now, self._ticked + TICK))
            self._tick()
        self._now = max(self._now, until)
        if self._now - self._ticked >= TICK:
            self._tick()

    def _tick(self) -> None:
        self._ticked = self._now
        self._mirror()
        if self._candidates:
            self._promote()
        self._relieve()
        if self._now - self._scanned >= SCAN and self._used_since_scan >= len(self._files) // 4:
            self._scan()

    def _mirror(self) -> None:
        """Copy to disk what has been left alone for a while; in the order of their changes."""
        quiet = [ino for ino, then in self._debounce.items() if self._now - then >= DEBOUNCE]
        for ino in quiet:
            del self._debounce[ino]
            inode = self._files.get(ino)
            if wants_mirror(inode, self._files.target(inode, self._now)):
                self.ledger.to_disk += on_flash(inode)
                self._files.keep(inode._replace(mirrored=1))
            self._consider(self._files.get(ino))

    def _promote(self) -> None:
        """Weigh those that ask. Who is refused asks again when it is read, a pinned file hourly."""
        candidates, self._candidates, self._everyone = self._candidates, {}, None
        self._look(LOOK * len(candidates))
        normal = []
        for ino in candidates:
            inode = self._files.get(ino)
            target = self._files.target(inode, self._now)
            candidate = candidate_of(inode, target.prefix, target, target.reason)
            if candidate.size and not target.pinned:
                normal.append(candidate)
            elif candidate.size:
                self._force(candidate)
        room = self._levels.room(self.ledger.used)
        coldest = self._pool.coldest()
        for swap in promotions(self._heat, normal, room, coldest, self._now):
            self._carry_out(swap)

    def _force(self, candidate: Candidate) -> None:
        room = self._levels.headroom(self.ledger.used)
        swap = forced(candidate, room, self._pool.coldest() if candidate.size > room else ())
        if swap is None and candidate.size <= room + self.ledger.used:
            swap = self._forced_by_any(candidate, room)
        if swap is None or not self._carry_out(swap):
            self._waiting[candidate.ino] = None

    def _forced_by_any(self, candidate: Candidate, room: int) -> Swap | None:
        """As a mount continues to look while it is not known that what may go is too little."""
        if self._everyone is None:
            everyone = EvictionPool(len(self._on_flash))
            for resident in map(self._resident, self._on_flash):
                if resident is not None:
                    everyone.offer(self._heat, resident, self._now)
            self._everyone = everyone.coldest()
        if sum(one.here for one in self._everyone) < candidate.size - room:
            return None
        whole = [one.off() for one in self._everyone]
        return forced(candidate, room, self._everyone) or forced(candidate, room, whole)

    def _carry_out(self, swap: Swap) -> bool:
        if not self._allowance.take(swap.candidate.size, self._now):
            return False
        for resident in swap.first:
            self._evict(resident)
        self._everyone = None
        inode = self._files.get(swap.candidate.ino)
        self._place(inode, swap.candidate.prefix, self._files.target(inode, self._now))
        return True

    def _relieve(self) -> None:
        """Above the high watermark the coldest go until the low one."""
        excess = self._levels.excess(self.ledger.used)
        while excess > 0:
            self._look(REMEMBERED)
            going = to_evict(self._pool.coldest(), excess, REMEMBERED)
            before = self.ledger.used
            for resident in going:
                self._evict(resident)
            excess -= before - self.ledger.used
            if before == self.ledger.used:
                return

    def _scan(self) -> None:
        """Time has passed: there may be room for pinned files, and other rules may hold."""
        self._scanned, self._used_since_scan = self._now, 0
        self._candidates.update(self._waiting)
        self._waiting.clear()
        if self._files.depend_on_time:
            for inode in self._files.all():
                self._consider(inode)

    # ------------------------------------------------------------ flash
    def _space(self) -> Space:
        """The room in flash as a mount sees it."""
        free = self._capacity - self.ledger.used
        return share(Space(self._capacity, free, free, 0, 0), self.ledger.used, self._limits)

    def _look(self, count: int) -> None:
        for ino in self._on_flash.sample(count, self._random):
            resident = self._resident(ino)
            if resident is None:
                self._pool.forget(ino)
            else:
                self._pool.offer(self._heat, resident, self._now)

    def _resident(self, ino: int) -> Resident | None:
        inode = self._files.get(ino)
        return resident_of(inode, self._files.target(inode, self._now), self._now)

    def _evict(self, resident: Resident) -> None:
        inode = self._files.get(resident.item.ino)
        before = self.ledger.used
        self._place(inode, resident.prefix, self._files.target(inode, self._now))
        self.ledger.evicted += before - self.ledger.used

    def _place(self, inode: Inode, prefix: int, target: Target) -> None:
        """Move bytes between the tiers."""
        before, after = on_flash(inode), min(inode.size, prefix)
        if after > before:
            self.ledger.to_flash += after - before
            inode = inode if before else inode._replace(mirrored=int(target.mirror))
        elif not inode.mirrored:
            self.ledger.to_disk += before - after
        self._pool.forget(inode.ino)
        self._put(inode, before, after)

    def _put(self, inode: Inode, before: int, after: int) -> None:
        if inode.ino in self._on_flash:
            self._on_flash.remove(inode.ino)
        if after:
            self._on_flash.add(inode.ino, after)
        self.ledger.grow(after - before)
        self._files.keep(inode._replace(prefix=after))


@dataclass(slots=True)
class Played:
    """What was in the log: its uses, from ``first`` to ``last`` (ns), and files with facts."""

    uses: int = 0
    first: int = 0
    last: int = 0
    facts: int = 0

    def note(self, line: Line) -> None:
        """Count a line."""
        if isinstance(line, Use):
            self.first = min(self.first, line.time) if self.uses else line.time
            self.last = max(self.last, line.time)
            self.uses += 1
        elif isinstance(line, FileFacts):
            self.facts += 1


def beginning_of(recording: Recording) -> Beginning | None:
    """What the log says of the volume where it begins; None: nothing."""
    for line in recording:
        return line if isinstance(line, Beginning) else None
    return None


def play(recording: Iterable[Line], flashes: Sequence[SimulatedFlash]) -> Played:
    """Show every line to every flash, in one reading of the log.

    Raises:
        UsageError: the log cannot be read.
    """
    played = Played()
    for line in recording:
        played.note(line)
        for flash in flashes:
            flash.play(line)
    for flash in flashes:
        flash.end()
    return played
