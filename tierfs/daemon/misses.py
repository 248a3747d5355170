"""Requests that the fast path could not answer, and directories published so that no more are."""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from tierfs.common.errors import FsError
from tierfs.fs.cache_fill import CacheFill

log = logging.getLogger(__name__)


class Misses:
    """Counts misses, in any thread, and publishes directories on the event loop."""

    def __init__(self, fill: CacheFill) -> None:
        self._fill = fill
        self._woken = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None

    def of(self, ino: int) -> None:
        """An inode was asked for in vain."""
        self._fill.missed(ino)
        self._wake()

    def within(self, directory: int) -> None:
        """A name in a directory was asked for in vain."""
        self._fill.missed_in(directory)
        self._wake()

    async def publish(self) -> None:
        """Publish what is due, for ever; a page at a time, so that requests come in between."""
        while True:
            if self._fill.idle:
                await self._wait()
            self._publish_page()
            await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        """Until a directory is due."""
        woken = trio.Event()
        self._woken = woken
        self._token = trio.lowlevel.current_trio_token()
        if self._fill.idle:  # or it became due a moment ago
            await woken.wait()
        self._token = None

    def _wake(self) -> None:
        token = self._token
        if token is not None and not self._fill.idle:
            self._token = None
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._woken.set)

    def _publish_page(self) -> None:
        try:
            self._fill.fill()
        except FsError as exc:
            log.warning("the names of a directory cannot be read ahead: %s", exc)
