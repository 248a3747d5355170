"""Requests that the fast path passed on, and directories published so that no more are."""

from __future__ import annotations

import logging

import trio

from tierfs.base.errors import FsError
from tierfs.core.publication import Publication

log = logging.getLogger(__name__)


class Misses:
    """Counts misses, and publishes directories between requests; on the event loop."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication
        self._idle = trio.lowlevel.ParkingLot()

    def of(self, ino: int) -> None:
        """A request for an inode came through."""
        self._publication.missed(ino)
        self._wake()

    def within(self, directory: int) -> None:
        """A request for a name in a directory came through."""
        self._publication.missed_in(directory)
        self._wake()

    async def publish(self) -> None:
        """Publish what is due, for ever; a page at a time, so that requests come in between."""
        while True:
            if self._publication.idle:
                await self._idle.park()
            self._publish_page()
            await trio.lowlevel.checkpoint()

    def _wake(self) -> None:
        if not self._publication.idle:
            self._idle.unpark_all()

    def _publish_page(self) -> None:
        try:
            self._publication.publish()
        except FsError as exc:
            log.warning("the names of a directory cannot be read ahead: %s", exc)
