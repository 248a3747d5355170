"""The upkeep of a mounted volume: reclaim, checkpoints, what follows an unclean end, watchdog."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from tierfs.daemon import service_manager
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.connection import Connection, native_read_ahead_kib, set_read_ahead
from tierfs.fs.volume import Volume

RECLAIM_EVERY_S: Final = 5.0
"""Like the journal of ext4 (commit=5): it syncs everything first, so it must not come too often."""

CHECKPOINT_CHECK_S: Final = 1.0
DOUBTED: Final = 1000
"""The last changes of an earlier daemon, of which the kernel may have no reply."""

RECOUNT_EVERY_S: Final = 0.01
"""A thousand inodes each time take half a millisecond, for which writers wait."""


class Maintenance:
    """The tasks of one session, on the event loop; what waits for a device runs in a thread."""

    def __init__(
        self,
        volume: Volume,
        connection: Connection,
        is_ending: Callable[[], bool],
    ) -> None:
        self._volume = volume
        self._connection = connection
        self._is_ending = is_ending
        self._checkpointing = trio.Lock()

    def start(self, tasks: trio.Nursery, background: BackgroundTasks) -> None:
        """Start them all; the caller cancels them."""
        begin = tasks.start_soon
        begin(background.every, RECLAIM_EVERY_S, "reclaim", self._reclaim)
        begin(background.every, CHECKPOINT_CHECK_S, "checkpoint", self._checkpoint)
        if self._volume.inherited_counts is not None:
            begin(background.keep, "doubt", self._doubt)
        begin(background.keep, "reconcile", self._reconcile)
        begin(background.keep, "recount", self._recount)
        begin(background.keep, "tune", self._tune)
        begin(background.keep, "watchdog", self._watchdog)

    async def _reconcile(self) -> None:
        """After an unclean end, reconcile the files that no request has reconciled."""
        await trio.to_thread.run_sync(
            partial(self._volume.fs.recovery.reconcile_all, self._is_ending)
        )

    async def _doubt(self) -> None:
        """After a takeover, let the kernel ask again for what was changed last.

        A program that is killed takes a request back that was not read again: the change was made,
        and the kernel does not know it.
        """
        fast = self._connection.fast_path
        if fast is None:
            return
        names, inodes = self._volume.index.feed.latest(DOUBTED)

        def invalidate() -> None:
            for ino in inodes:
                fast.router.is_known(ino)
            for directory, name in names:
                fast.invalidate_name(directory, name)

        await trio.to_thread.run_sync(invalidate, abandon_on_cancel=True)

    async def _recount(self) -> None:
        """After an unclean end count the inodes again, a little at a time."""
        more = True
        while more:
            await trio.sleep(RECOUNT_EVERY_S)
            more = await trio.to_thread.run_sync(self._volume.index.recount)

    async def _reclaim(self) -> None:
        """Delete unlinked files and carry out pending truncations, in batches."""
        fast, reclaimer = self._connection.fast_path, self._volume.fs.reclaimer
        if fast is not None and self._volume.inherited_counts is not None:
            is_known = fast.router.is_known
            await trio.to_thread.run_sync(partial(self._volume.free_forgotten, is_known))
        if not reclaimer.is_idle():
            await trio.to_thread.run_sync(reclaimer.drain)

    async def _checkpoint(self) -> None:
        """Let SQLite commit what is in the redo log, and make a checkpoint if one is due.

        Readers that do not flush see a change after a second.
        """
        await trio.to_thread.run_sync(self._volume.index.flush, abandon_on_cancel=True)
        if self._volume.checkpoints.is_due():
            await self.make_checkpoint()

    async def make_checkpoint(self) -> None:
        """Make a checkpoint, one at a time."""
        async with self._checkpointing:
            await trio.to_thread.run_sync(self._volume.checkpoints.make)

    async def _tune(self) -> None:
        """In a thread: looking at our own mount needs the event loop to answer."""
        fast, mountpoint = self._connection.fast_path, self._connection.mountpoint
        jobs = [partial(set_read_ahead, mountpoint)]
        if fast is not None:
            kib = native_read_ahead_kib(self._volume.settings.head)
            jobs = [
                partial(set_read_ahead, mountpoint, kib=kib),
                partial(fast.prefetch_names, mountpoint),
            ]
        for job in jobs:
            await trio.to_thread.run_sync(job, abandon_on_cancel=True)

    async def _watchdog(self) -> None:
        """While the event loop runs, the service manager's watchdog is quiet."""
        period = service_manager.watchdog_seconds()
        while period is not None:
            service_manager.alive()
            await trio.sleep(period / 3)
