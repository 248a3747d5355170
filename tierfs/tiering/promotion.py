"""Who comes to flash of those that were read, pinned or asked for, and who goes for them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tierfs.index.inodes import Inode
from tierfs.tiering.eviction import Resident, victims
from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import Evict, Item, admit
from tierfs.tiering.wish import Reason, Wish, missing, on_flash


class Ask(NamedTuple):
    """A file asks for ``size`` more bytes of flash, so that its P becomes ``prefix``.

    ``files`` is 1 where it has nothing on flash: then it needs an inode there as well.
    """

    ino: int
    prefix: int
    size: int
    reason: Reason
    rule: str | None = None
    keep_mirror: bool = True
    evict: Evict = "heat"
    rank: int = 0
    files: int = 0

    @property
    def item(self) -> Item:
        """As the replacement weighs it."""
        return Item(self.ino, self.size, 0, self.evict, self.rank)


def ask_of(inode: Inode, prefix: int, wish: Wish, reason: Reason) -> Ask:
    """What a file asks for, so that its P becomes ``prefix``."""
    return Ask(
        inode.ino,
        prefix,
        missing(inode, prefix),
        reason,
        wish.rule,
        wish.mirror,
        wish.evict,
        wish.rank,
        files=int(not on_flash(inode)),
    )


class Swap(NamedTuple):
    """A file comes when the others have gone."""

    ask: Ask
    first: tuple[Resident, ...] = ()

    @property
    def grows(self) -> int:
        """Bytes that flash holds more afterwards."""
        return self.ask.size - sum(resident.item.size for resident in self.first)

    @property
    def grows_files(self) -> int:
        """Inodes of flash that are taken more afterwards."""
        return self.ask.files - sum(resident.files for resident in self.first)


def promotions(
    heat: Heat,
    asks: Iterable[Ask],
    room: int,
    coldest: Sequence[Resident],
    now: int,
    *,
    files: int = sys.maxsize,
) -> list[Swap]:
    """The files that come in: into ``room`` bytes, or for colder ones of which they take the place.

    So flash never holds more than it did and the room together; likewise ``files`` inodes.
    """
    left: Sequence[Resident] = [one for one in coldest if one.settled]
    admitted = []
    for ask in asks:
        others = without(left, ask.ino)
        crowded = ask.files > files
        candidates = [one.off() for one in others] if crowded else others
        verdict = admit(
            heat, ask.item, 0 if crowded else room, [one.item for one in candidates], now
        )
        if verdict.admit and not (crowded and not verdict.evict):
            going = len(verdict.evict)  # the first of those left
            swap = Swap(ask, tuple(candidates[:going]))
            left = others[going:]
            room -= swap.grows
            files -= swap.grows_files
            admitted.append(swap)
    return admitted


def forced(
    ask: Ask, room: int, coldest: Sequence[Resident], *, files: int = sys.maxsize
) -> Swap | None:
    """How a file comes in that must: what may go goes, however warm. None: it does not fit."""
    others = without(coldest, ask.ino)
    going = victims(others, ask.size - room, len(others), files=ask.files - files)
    swap = Swap(ask, tuple(going))
    return swap if swap.grows <= room and swap.grows_files <= files else None


def without(residents: Sequence[Resident], ino: int) -> Sequence[Resident]:
    """All but one."""
    if all(one.item.ino != ino for one in residents):
        return residents
    return [one for one in residents if one.item.ino != ino]
