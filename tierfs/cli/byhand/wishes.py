"""What can be asked for by hand: pure descriptions, and when they have come true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tierfs.base.by_hand import FOR_EVER, PIN, PREFIX, show_prefix
from tierfs.base.extents import WHOLE_FILE
from tierfs.cli.byhand.place import Place

TO_FLASH = "to flash"
TO_DISK = "to disk"
NOWHERE = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """One attribute to be set, or with ``value`` None removed, on each file."""

    verb: str
    noted: str
    """What can be said of a file once it is noted."""
    done: str
    """What can be said of it once the bytes are moved."""
    name: str
    value: bytes | None
    moves: Callable[[Place], int]
    """The bytes that are still to be moved for it."""
    reached: Callable[[Place], bool]
    """Whether the bytes are where they shall be."""
    asked: Callable[[Place], bool]
    """Whether it is noted, so that the mover sees to it."""
    direction: str
    """Where bytes are moved."""

    def is_needless(self, place: Place) -> bool:
        """Whether asking would change nothing: the file is there, and nobody asks otherwise."""
        return self.name == PREFIX and self.reached(place) and place.requested is None

    def is_refused(self, place: Place) -> bool:
        """Whether a pin stands in the way: a pinned file is on flash whole."""
        return self.name == PREFIX and self.value != show_prefix(WHOLE_FILE) and place.is_pinned


def pin(length: str | None) -> Wish:
    """Keep files on flash whole; ``length`` as `parse_pin` reads it, or None for ever."""
    return Wish(
        verb="pin",
        noted="pinned",
        done="brought to flash",
        name=PIN,
        value=length.encode() if length else FOR_EVER,
        moves=lambda place: place.disk,
        reached=lambda place: not place.disk,
        asked=lambda place: place.is_pinned,
        direction=TO_FLASH,
    )


UNPIN = Wish(
    verb="unpin",
    noted="unpinned",
    done="unpinned",
    name=PIN,
    value=None,
    moves=lambda _: 0,
    reached=lambda place: place.pin is None,
    asked=lambda _: True,
    direction=NOWHERE,
)


def promote(prefix: int) -> Wish:
    """Bring the first ``prefix`` bytes to flash; more may be there already."""

    def missing(place: Place) -> int:
        return max(0, min(place.size, prefix) - place.flash)

    return Wish(
        verb="promote",
        noted="asked to promote",
        done="promoted",
        name=PREFIX,
        value=show_prefix(prefix),
        moves=missing,
        reached=lambda place: not missing(place),
        asked=lambda place: place.requested is not None,
        direction=TO_FLASH,
    )


DEMOTE = Wish(
    verb="demote",
    noted="asked to demote",
    done="demoted",
    name=PREFIX,
    value=show_prefix(0),
    moves=lambda place: place.flash,
    reached=lambda place: place.prefix == 0,
    asked=lambda place: place.requested is not None,
    direction=TO_DISK,
)
