"""Why a file belongs where it does, and why it is not there: asked of single files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tierfs.metadata.inodes import Inode
from tierfs.metadata.pins_and_requests import Request
from tierfs.policy.model import Explanation, Policy, explain
from tierfs.tiering.context import Context
from tierfs.tiering.heat import Warmth
from tierfs.tiering.ports import CatalogReader
from tierfs.tiering.state import Waiting, WaitReason
from tierfs.tiering.target import (
    PolicyEvaluator,
    Target,
    due,
    is_quiet,
    last_read,
    missing,
    on_flash,
)


class Misplaced(NamedTuple):
    """A file of which ``bytes`` are on the wrong tier; ``urgent`` ones wait for no window."""

    bytes: int
    files: int
    """1: it needs an inode of flash."""
    urgent: bool
    debounced: bool
    """Whether it is first left alone for a while."""
    weighed: bool = False
    """Whether it comes only in the place of files that are worth less."""


def misplaced(inode: Inode, target: Target, request: Request | None) -> Misplaced | None:
    """What of a file is to be moved though nobody reads it; None: it is where it belongs.

    Files that come when they are read next are where they belong; so are heads that are to be
    mirrored.
    """
    here = on_flash(inode)
    if request is not None and request.prefix != inode.prefix:
        size = missing(inode, request.prefix) or max(0, here - request.prefix)
        return Misplaced(size, int(not here), urgent=True, debounced=False) if size else None
    move = due(inode, target)
    if move is None and target.reason != "promote":
        return None
    prefix = target.prefix if move is None else move.prefix
    size = missing(inode, prefix)
    if move is None and not size:
        return None
    by_hand = target.reason == "pin by hand"
    files = int(size > 0 and not here)
    return Misplaced(size or here, files, urgent=by_hand, debounced=True, weighed=move is None)


def waiting(
    context: Context, inode: Inode, target: Target, request: Request | None, now: int
) -> Waiting | None:
    """Why a file is not where it belongs; None: it is. Any thread may ask."""
    ino, mover = inode.ino, context.mover
    what = misplaced(inode, target, request)
    if what is None:
        return context.refused.why(ino, now)
    if context.closed or mover.is_suspended():
        return Waiting("closed")
    if mover.queue.is_busy(ino):
        return Waiting("rate")
    held = (context.backoff if what.debounced else context.later).why(ino, now)
    if held is not None:
        return held
    if (demand := context.demands.get(ino)) is not None:
        return Waiting(demand.reason)
    if not what.urgent and not mover.in_window():
        return Waiting("window")
    if what.debounced and not is_quiet(inode, now):
        return Waiting("backoff")
    return Waiting((_lacks(context, what) if what.weighed else None) or "rate")


def request_for(catalog: CatalogReader, ino: int) -> Request | None:
    """What somebody asked for by hand, and was not done yet.

    Raises:
        FsError: the index could not be read.
    """
    return next((one for one in catalog.requests(ino - 1, 1) if one.ino == ino), None)


@dataclass(frozen=True, slots=True)
class Explained:
    """A file as it is, what the policy says of it, and the target that follows, with pins."""

    inode: Inode
    explanation: Explanation
    target: Target
    warmth: Warmth | None
    """Its reads, decayed; None when none is known."""
    last_read: int | None
    """Nanoseconds since the epoch; None when it is not known."""
    waiting: Waiting | None
    """Why it is not where it belongs; None: it is."""
    pinned_by: bytes | None
    """The path of the directory that pins it; None: none does, or it has a pin of its own."""


def explained(
    context: Context, policy: Policy, inos: Sequence[int], now: int
) -> Iterator[Explained]:
    """For each of the inodes that is a regular file with a name, in ascending order.

    Raises:
        FsError: the index could not be read.
    """
    catalog, heat = context.ports.catalog, context.heat
    evaluator = PolicyEvaluator(catalog, heat, policy)
    rows = catalog.some(inos)
    paths = catalog.paths(rows)
    pinned = catalog.pinned(rows, now)
    for row, target in evaluator.evaluate(rows, now):
        yield Explained(
            row,
            explain(policy, evaluator.facts(row, paths, now)),
            target,
            heat.look(row.ino, now),
            last_read(heat, row, now),
            waiting(context, row, target, request_for(catalog, row.ino), now),
            None if (by := pinned.get(row.ino, row.ino)) == row.ino else catalog.directory_path(by),
        )


def _lacks(context: Context, what: Misplaced) -> WaitReason | None:
    """What there is not enough of for a file that comes only into free room."""
    moment = context.moment
    if moment is None:
        return None
    if what.files > moment.file_levels.room(moment.files_used):
        return "inodes"
    return "room" if what.bytes > moment.levels.room(moment.used) else None
