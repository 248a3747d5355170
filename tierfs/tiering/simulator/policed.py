"""A flash under a tier policy, driven by the lines of an access log, as a mount's engine drives it.

The deciders are the mount's: which rule holds (`tierfs.policy.decide`), what follows from it
(`tierfs.tiering.wish`, `judge`), who comes in and who goes (`promotion`, `eviction`,
`replacement`), and how full flash may be (`tierfs.core.placement`, `levels`). What differs: files
are met when the log names them, moves take no time beyond the mover's rate, and of the files on
flash a few are looked at by chance where the engine sweeps the index.
"""

from __future__ import annotations

from random import Random
from typing import Final

from tierfs.base.durations import SECOND
from tierfs.core.placement import is_short, share
from tierfs.index.inodes import Inode
from tierfs.policy.tier_policy import Policy
from tierfs.store.objects import Space
from tierfs.tiering.access_lines import FileFacts, Gone, Line, Use
from tierfs.tiering.eviction import Pool, Resident, resident_of, victims
from tierfs.tiering.heat import Heat
from tierfs.tiering.levels import levels_of, limits_of
from tierfs.tiering.promotion import Ask, Swap, forced, promotions
from tierfs.tiering.simulator.allowance import Allowance
from tierfs.tiering.simulator.catalogue import Catalogue
from tierfs.tiering.simulator.ledger import Ledger, answered
from tierfs.tiering.simulator.shelf import Shelf
from tierfs.tiering.wish import SETTLE, Wish, due, missing, on_flash, wants_mirror

KNOWN: Final = 2**19
"""Files that the heat table has room for."""

TICK: Final = SECOND
"""Files that ask for flash are weighed together once in so many nanoseconds."""

LOOK: Final = 2
"""Files on flash looked at for each one that asks."""

REMEMBERED: Final = 64
"""The coldest of those that are kept in mind."""

SWEEP: Final = 3600 * SECOND
"""Pinned files that found no room ask again after so many nanoseconds, and where rules depend on
time all files are looked at; not before a quarter as many uses, so that it costs little.
"""


class PolicedFlash:
    """``capacity`` bytes of flash. `play` every line of a log in order, then `end`.

    ``known`` is how many files the heat table has room for.
    """

    def __init__(self, policy: Policy, capacity: int, known: int = KNOWN) -> None:
        self.ledger = Ledger()
        self._capacity = capacity
        self._limits = limits_of(policy)
        self._levels = levels_of(policy.flash, self._space().capacity)
        self._heat = Heat(known)
        self._files = Catalogue(policy, self._heat)
        self._shelf = Shelf(capacity)
        self._pool = Pool(REMEMBERED)
        self._everyone: list[Resident] | None = None
        """All that may go, as long as nothing has moved in this tick."""
        self._allowance = Allowance(policy.mover)
        self._random = Random(0)
        self._now = self._ticked = self._swept = 0
        self._used_since_sweep = 0
        self._asking: dict[int, None] = {}
        self._waiting: dict[int, None] = {}
        self._settling: dict[int, int] = {}

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
        self._go_on(self._now + SETTLE)
        self._sweep()
        return self.ledger

    # ------------------------------------------------------------ what happens to a file
    def _read(self, use: Use) -> None:
        inode = self._files.seen(use)
        self.ledger.count(use, answered(use, inode.size, inode.prefix))
        self._heat.feed(((use.ino, use.reads, use.size),), self._now)
        self._files.was_read(use.ino)
        self._pool.forget(use.ino)
        self._used_since_sweep += 1
        wish = self._files.wish(inode, self._now)
        if missing(inode, wish.prefix):
            self._asking[use.ino] = None
        elif not wish.prefix:
            self._consider(inode)

    def _write(self, use: Use) -> None:
        seen = self._files.seen(use)
        before, grown_from = on_flash(seen), seen.size
        inode = self._files.written(use, self._now)
        # A file gets the head of the volume where flash has room for new ones, as on a mount. A
        # pinned one that has come up grows on flash; else the rest of it comes later, by the mover.
        pinned = self._files.wish(inode, self._now).pinned
        follows = pinned and before == grown_from > self._limits.head
        prefix = inode.size if follows else max(before, self._limits.head)
        if not before and is_short(self._space(), self._limits):
            prefix = 0
        wanted = min(inode.size, prefix)
        fits = wanted - before <= self._capacity - self.ledger.used
        self._put(inode, before, wanted if fits else min(before, inode.size))
        self._settling[use.ino] = self._now
        self._pool.forget(use.ino)
        self._used_since_sweep += 1
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
            self._asking.pop(ino, None)
            self._waiting.pop(ino, None)
            self._settling.pop(ino, None)

    def _consider(self, inode: Inode) -> None:
        """Move it, whether it is read or not, when it is pinned or nothing of it belongs there."""
        wish = self._files.wish(inode, self._now)
        called = due(inode, wish)
        if called is not None and called.prefix == 0:
            self._place(inode, 0, wish)
        elif called is not None:
            self._asking[inode.ino] = None

    # ------------------------------------------------------------ what happens every second
    def _go_on(self, until: int) -> None:
        """Let time pass: what is asked for is done a second later, however long nothing happens."""
        if self._heat.since is None:
            self._heat.since = self._now = self._ticked = self._swept = until
        if until - self._ticked >= TICK:
            self._now = min(until, max(self._now, self._ticked + TICK))
            self._tick()
        self._now = max(self._now, until)
        if self._now - self._ticked >= TICK:
            self._tick()

    def _tick(self) -> None:
        self._ticked = self._now
        self._mirror()
        if self._asking:
            self._promote()
        self._relieve()
        if self._now - self._swept >= SWEEP and self._used_since_sweep >= len(self._files) // 4:
            self._sweep()

    def _mirror(self) -> None:
        """Copy to disk what has been left alone for a while; in the order of their changes."""
        quiet = [ino for ino, then in self._settling.items() if self._now - then >= SETTLE]
        for ino in quiet:
            del self._settling[ino]
            inode = self._files.get(ino)
            if wants_mirror(inode, self._files.wish(inode, self._now)):
                self.ledger.to_disk += on_flash(inode)
                self._files.keep(inode._replace(mirrored=1))
            self._consider(self._files.get(ino))

    def _promote(self) -> None:
        """Weigh those that ask. Who is refused asks again when it is read, a pinned file hourly."""
        asking, self._asking, self._everyone = self._asking, {}, None
        self._look(LOOK * len(asking))
        normal = []
        for ino in asking:
            inode = self._files.get(ino)
            wish = self._files.wish(inode, self._now)
            ask = _ask(inode, wish)
            if ask.size and not wish.pinned:
                normal.append(ask)
            elif ask.size:
                self._force(ask)
        room = self._levels.room(self.ledger.used)
        coldest = self._pool.coldest()
        for swap in promotions(self._heat, normal, room, coldest, self._now):
            self._carry_out(swap)

    def _force(self, ask: Ask) -> None:
        room = self._levels.headroom(self.ledger.used)
        swap = forced(ask, room, self._pool.coldest() if ask.size > room else ())
        if swap is None and ask.size <= room + self.ledger.used:
            swap = self._forced_by_any(ask, room)
        if swap is None or not self._carry_out(swap):
            self._waiting[ask.ino] = None

    def _forced_by_any(self, ask: Ask, room: int) -> Swap | None:
        """As a mount goes on looking while it is not known that what may go is too little."""
        if self._everyone is None:
            everyone = Pool(len(self._shelf))
            for resident in map(self._resident, self._shelf):
                if resident is not None:
                    everyone.offer(self._heat, resident, self._now)
            self._everyone = everyone.coldest()
        if sum(one.here for one in self._everyone) < ask.size - room:
            return None
        whole = [one.off() for one in self._everyone]
        return forced(ask, room, self._everyone) or forced(ask, room, whole)

    def _carry_out(self, swap: Swap) -> bool:
        if not self._allowance.take(swap.ask.size, self._now):
            return False
        for resident in swap.first:
            self._evict(resident)
        self._everyone = None
        inode = self._files.get(swap.ask.ino)
        self._place(inode, swap.ask.prefix, self._files.wish(inode, self._now))
        return True

    def _relieve(self) -> None:
        """Above the high watermark the coldest go until the low one."""
        excess = self._levels.excess(self.ledger.used)
        while excess > 0:
            self._look(REMEMBERED)
            going = victims(self._pool.coldest(), excess, REMEMBERED)
            before = self.ledger.used
            for resident in going:
                self._evict(resident)
            excess -= before - self.ledger.used
            if before == self.ledger.used:
                return

    def _sweep(self) -> None:
        """Time has passed: there may be room for pinned files, and other rules may hold."""
        self._swept, self._used_since_sweep = self._now, 0
        self._asking.update(self._waiting)
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
        for ino in self._shelf.sample(count, self._random):
            resident = self._resident(ino)
            if resident is None:
                self._pool.forget(ino)
            else:
                self._pool.offer(self._heat, resident, self._now)

    def _resident(self, ino: int) -> Resident | None:
        inode = self._files.get(ino)
        return resident_of(inode, self._files.wish(inode, self._now), self._now)

    def _evict(self, resident: Resident) -> None:
        inode = self._files.get(resident.item.ino)
        before = self.ledger.used
        self._place(inode, resident.prefix, self._files.wish(inode, self._now))
        self.ledger.evicted += before - self.ledger.used

    def _place(self, inode: Inode, prefix: int, wish: Wish) -> None:
        """Move bytes between the tiers."""
        before, after = on_flash(inode), min(inode.size, prefix)
        if after > before:
            self.ledger.to_flash += after - before
            inode = inode if before else inode._replace(mirrored=int(wish.mirror))
        elif not inode.mirrored:
            self.ledger.to_disk += before - after
        self._pool.forget(inode.ino)
        self._put(inode, before, after)

    def _put(self, inode: Inode, before: int, after: int) -> None:
        if inode.ino in self._shelf:
            self._shelf.remove(inode.ino)
        if after:
            self._shelf.add(inode.ino, after)
        self.ledger.grow(after - before)
        self._files.keep(inode._replace(prefix=after))


def _ask(inode: Inode, wish: Wish) -> Ask:
    size = missing(inode, wish.prefix)
    return Ask(
        inode.ino, wish.prefix, size, wish.reason, wish.rule, wish.mirror, wish.evict, wish.rank
    )
