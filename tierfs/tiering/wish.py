"""What is wished for a file, and what follows from it: pure functions over a row and a decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from tierfs.base.durations import SECOND
from tierfs.base.extents import WHOLE_FILE
from tierfs.index.inodes import Inode
from tierfs.policy.decide import Decision
from tierfs.tiering.replacement import Evict

SETTLE: Final = 5 * SECOND
"""A file that was changed within so many nanoseconds is not moved: it is about to change again."""

Reason = Literal["by hand", "pin by hand", "pin", "promote", "head", "head: none", "full", "mirror"]
"""Why a file is moved, as reports and metrics call it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """``prefix`` is the P that the file should have, ``head`` the least that it falls back to.

    ``most`` is the largest P that the policy may ever wish for it; ``reason`` says why ``prefix``
    is what it is.
    """

    rule: str | None
    prefix: int
    head: int
    most: int
    pinned: bool
    mirror: bool
    evict: Evict
    rank: int
    reason: Reason
    at_sync: bool = False
    """Whether what was synced must be on disk as well."""


LEFT_ALONE: Final = Wish(None, 0, 0, WHOLE_FILE, False, False, "never", 0, "head")  # noqa: FBT003
"""The wish without a policy: nothing moves by itself."""


class Due(NamedTuple):
    """A move that is called for whether or not anybody reads the file."""

    prefix: int
    reason: Reason


def wish_of(decision: Decision, reads: Callable[[int], int | None]) -> Wish:
    """What a policy wishes for a file; ``reads`` counts its reads within some nanoseconds."""
    settings = decision.settings
    promote, prefix = settings.promote, settings.head
    reason: Reason = "pin" if settings.pin else "head" if prefix else "head: none"
    if promote is not None and (reads(promote.within) or 0) >= promote.reads:
        prefix, reason = max(prefix, promote.to), reason if settings.pin else "promote"
    return Wish(
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


def by_hand(wish: Wish) -> Wish:
    """The wish for a file that somebody pinned: all of it."""
    return Wish(
        wish.rule,
        WHOLE_FILE,
        WHOLE_FILE,
        WHOLE_FILE,
        pinned=True,
        mirror=wish.mirror,
        evict=wish.evict,
        rank=wish.rank,
        reason="pin by hand",
        at_sync=wish.at_sync,
    )


def on_flash(inode: Inode) -> int:
    """Bytes of the file that are on flash."""
    return min(inode.size, inode.prefix)


def missing(inode: Inode, prefix: int) -> int:
    """Bytes that must come to flash for this prefix."""
    return max(0, min(inode.size, prefix) - on_flash(inode))


def is_settled(inode: Inode, now: int) -> bool:
    """Whether the file was left alone for a while; a change time in the future says nothing."""
    return not 0 <= now - inode.ctime < SETTLE


def due(inode: Inode, wish: Wish) -> Due | None:
    """The move that the wish calls for by itself: a pin, or ``head: none``."""
    if wish.pinned and missing(inode, wish.head):
        return Due(wish.head, wish.reason)
    if wish.prefix == 0 and wish.reason == "head: none" and on_flash(inode):
        return Due(0, "head: none")
    return None


def wants_mirror(inode: Inode, wish: Wish) -> bool:
    """Whether the file's head is to be copied to disk."""
    return wish.mirror and not inode.mirrored and on_flash(inode) > 0
