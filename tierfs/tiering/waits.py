"""Why a file is not where it belongs: one reason for each, and their sums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from tierfs.index.inodes import Inode
from tierfs.index.wishes import Request
from tierfs.tiering.wish import Wish, due, missing, on_flash

Waits: TypeAlias = Literal["room", "inodes", "window", "rate", "backoff", "closed", "error"]
"""``room``, ``inodes``: flash has no bytes, or no inodes, to spare. ``window``: ``mover.window`` is
closed. ``rate``: it is queued or under way, and the mover does as much at a time as it may.
``backoff``: it was changed a moment ago, or while it was moved. ``closed``: nothing is moved, since
the mount is read-only or too many moves failed. ``error``: moving it failed, which the log tells.
"""

REASONS: Final[tuple[Waits, ...]] = get_args(Waits)


class Waiting(NamedTuple):
    """Why one file waits. ``stuck``: not until something else changes, as when pins exceed flash.

    Then all that may leave flash does not make enough room, or the file is larger than flash.
    """

    reason: Waits
    stuck: bool = False


class Sum(NamedTuple):
    """Files, and the bytes of them that are in the wrong place."""

    files: int
    bytes: int


NONE: Final = Sum(0, 0)

Sums: TypeAlias = dict[Waits, Sum]


def together(many: Iterable[Sums]) -> Sums:
    """The sums of several; reasons that hold for no file are left out."""
    found: Sums = {}
    for sums in many:
        for reason, (files, size) in sums.items():
            before = found.get(reason, NONE)
            found[reason] = Sum(before.files + files, before.bytes + size)
    return found


class Tally:
    """The sums of a round; what the last whole one found is kept until the next has ended."""

    def __init__(self) -> None:
        self.all = NONE
        """Files, and their bytes that belong on flash."""
        self.waiting: Sums = {}
        """Those of them that are not where they belong."""
        self._all = NONE
        self._waiting: Sums = {}

    def count(self, size: int, waiting: Waiting | None, misplaced: int) -> None:
        """A file of which ``size`` bytes belong on flash, and ``misplaced`` are elsewhere."""
        self._all = Sum(self._all.files + 1, self._all.bytes + size)
        if waiting is not None:
            files, total = self._waiting.get(waiting.reason, NONE)
            self._waiting[waiting.reason] = Sum(files + 1, total + misplaced)

    def end_round(self) -> None:
        """All were met."""
        self.all, self._all = self._all, NONE
        self.waiting, self._waiting = self._waiting, {}

    def clear(self) -> None:
        """The policy changed."""
        self.all = self._all = NONE
        self.waiting, self._waiting = {}, {}


class Misplaced(NamedTuple):
    """A file of which ``bytes`` are on the wrong tier; ``urgent`` ones wait for no window."""

    bytes: int
    files: int
    """1: it needs an inode of flash."""
    urgent: bool
    settles: bool
    """Whether it is first left alone for a while."""
    weighed: bool = False
    """Whether it comes only in the place of files that are worth less."""


def misplaced(inode: Inode, wish: Wish, request: Request | None) -> Misplaced | None:
    """What of a file is to be moved though nobody reads it; None: it is where it belongs.

    Files that come when they are read next are where they belong; so are heads that are to be
    mirrored.
    """
    here = on_flash(inode)
    if request is not None and request.prefix != inode.prefix:
        size = missing(inode, request.prefix) or max(0, here - request.prefix)
        return Misplaced(size, int(not here), urgent=True, settles=False) if size else None
    move = due(inode, wish)
    if move is None and wish.reason != "promote":
        return None
    prefix = wish.prefix if move is None else move.prefix
    size = missing(inode, prefix)
    if move is None and not size:
        return None
    by_hand = wish.reason == "pin by hand"
    files = int(size > 0 and not here)
    return Misplaced(size or here, files, urgent=by_hand, settles=True, weighed=move is None)
