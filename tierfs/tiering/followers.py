"""Files that were changed or read of late: they are looked at soon, one by one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from tierfs.tiering.context import Context, Moment
from tierfs.tiering.heat import Row
from tierfs.tiering.promotion import ask_of
from tierfs.tiering.wish import missing, on_flash

PAGE: Final = 128
BUDGET_S: Final = 0.02
"""Of a tick, for files that were changed, and for those that were read."""

REMEMBERED: Final = 65_536


class Followers:
    """Follows what applications do."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._read: dict[int, None] = {}
        self._content: dict[int, None] = {}
        """Files that have all on flash that may ever be wished for: reading them asks for nothing.
        """

    def observe(self, reads: Iterable[Row], changed: Iterable[int], now: int) -> None:
        """Take note of a batch."""
        context = self._context
        changed = list(changed)
        for ino in changed:
            self._content.pop(ino, None)
            context.mirroring.forget(ino)
        context.settling.add(changed, now)
        for ino, *_ in reads:
            context.pool.forget(ino)
            if ino not in self._content:
                _bounded_add(self._read, ino)

    def tick(self, moment: Moment) -> None:
        """Look at some of them."""
        for look in (self._look_at_changed, self._look_at_read):
            start = self._context.monotonic()
            while look(moment) and self._context.monotonic() - start < BUDGET_S:
                pass

    def reset(self) -> None:
        """The policy changed: what was enough may not be any longer."""
        self._content.clear()

    def moved(self, ino: int) -> None:
        """The file was moved, by whomever."""
        self._content.pop(ino, None)

    def _look_at_changed(self, moment: Moment) -> bool:
        """Consider a page of those that were left alone since; False: that was the last one."""
        context = self._context
        ready = context.settling.ready(moment.now, PAGE)
        found = set()
        for inode, wish in context.judge.judged(context.ports.catalog.some(ready), moment.now):
            found.add(inode.ino)
            context.consider(inode, wish, moment)
        for ino in set(ready) - found:
            context.heat.forget(ino)
            context.pool.forget(ino)
        return len(ready) == PAGE

    def _look_at_read(self, moment: Moment) -> bool:
        """Let a page of files ask for what they miss; likewise."""
        context, some = self._context, list(islice(self._read, PAGE))
        for ino in some:
            del self._read[ino]
        for inode, wish in context.judge.judged(context.ports.catalog.some(some), moment.now):
            if missing(inode, wish.prefix):
                if not context.backoff.holds(inode.ino, moment.now):
                    context.ask(ask_of(inode, wish.prefix, wish, wish.reason))
            elif inode.size and on_flash(inode) >= min(inode.size, wish.most):
                _bounded_add(self._content, inode.ino)
        return len(some) == PAGE


def _bounded_add(known: dict[int, None], ino: int) -> None:
    if ino not in known and len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[ino] = None
