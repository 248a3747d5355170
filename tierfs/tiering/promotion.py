"""Who comes to flash of those that were read, pinned or asked for, and who goes for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tierfs.tiering.eviction import Resident, victims
from tierfs.tiering.heat import Heat
from tierfs.tiering.replacement import Evict, Item, admit
from tierfs.tiering.wish import Reason


class Ask(NamedTuple):
    """A file asks for ``size`` more bytes of flash, so that its P becomes ``prefix``."""

    ino: int
    prefix: int
    size: int
    reason: Reason
    rule: str | None = None
    keep_mirror: bool = True
    evict: Evict = "heat"
    rank: int = 0

    @property
    def item(self) -> Item:
        """As the replacement weighs it."""
        return Item(self.ino, self.size, 0, self.evict, self.rank)


class Swap(NamedTuple):
    """A file comes when the others have gone."""

    ask: Ask
    first: tuple[Resident, ...] = ()

    @property
    def grows(self) -> int:
        """Bytes that flash holds more afterwards."""
        return self.ask.size - sum(resident.item.size for resident in self.first)


def promotions(
    heat: Heat, asks: Iterable[Ask], room: int, coldest: Sequence[Resident], now: int
) -> list[Swap]:
    """The files that come in: into ``room`` bytes, or for colder ones of which they take the place.

    So flash never holds more than it did and the room together.
    """
    left: Sequence[Resident] = [one for one in coldest if one.settled]
    admitted = []
    for ask in asks:
        others = without(left, ask.ino)
        verdict = admit(heat, ask.item, room, [one.item for one in others], now)
        if verdict.admit:
            going = len(verdict.evict)  # the first of those left
            swap = Swap(ask, tuple(others[:going]))
            left = others[going:]
            room -= swap.grows
            admitted.append(swap)
    return admitted


def forced(ask: Ask, room: int, coldest: Sequence[Resident]) -> Swap | None:
    """How a file comes in that must: whoever may go goes, however warm. None: it does not fit."""
    others = without(coldest, ask.ino)
    swap = Swap(ask, tuple(victims(others, ask.size - room, len(others))))
    return swap if swap.grows <= room else None


def without(residents: Sequence[Resident], ino: int) -> Sequence[Resident]:
    """All but one."""
    if all(one.item.ino != ino for one in residents):
        return residents
    return [one for one in residents if one.item.ino != ino]
