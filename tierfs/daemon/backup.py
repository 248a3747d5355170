"""Backups of a mount: the copy of the change feed, every other second, and the backups themselves.

Both are made beside the work: the feed is read for a moment by a connection of its own, a backup in
a worker process at idle priority.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from tierfs.backup.files import BACKUP, COPY, backups, directory_of, segment_name, segments
from tierfs.backup.making import Job, Made, make_backup, make_directory
from tierfs.common.errors import TierfsError, UsageError
from tierfs.common.times import system_clock
from tierfs.daemon.worker import run_in_worker
from tierfs.fs.volume import Volume
from tierfs.metadata.feed_copy import FeedCopier, make_segment

log = logging.getLogger(__name__)

COPIED_EVERY_S: Final = 2.0
CHECKED_EVERY_S: Final = 5.0


class Backups:
    """The backups of one mount. Thread-safe."""

    def __init__(self, volume: Volume, stopping: Callable[[], bool]) -> None:
        self._volume = volume
        self._settings = volume.settings.backup
        self._feed = volume.index.feed
        self._stopping = stopping
        self._directory = directory_of(volume.settings)
        self._copier: FeedCopier | None = None
        self._making = threading.Lock()
        self._copying = threading.Lock()
        self._reported = False
        self._generation = ""
        self._position = 0
        """The serial of the feed up to which everything is copied."""
        self._broken = False
        """Whether the copy does not go on from a backup that there is."""
        self.on = self._settings.enabled and not volume.read_only
        if self.on:
            # Before a request changes anything: what is not in the feed is in no copy either.
            self._position = self._feed.register(COPY)
            self._generation = self._feed.generation
            self._feed.catch_up = self.copy_before_freeing
            self._feed.on_close = self._close
            self._feed.unregister(BACKUP)  # of a daemon that was killed
        elif not volume.read_only:
            for name in (COPY, BACKUP):
                self._feed.unregister(name)

    def copy(self) -> None:
        """Copy what the feed has, durably, and trim it.

        Without a backup from which the copy could go on there is nothing to copy for.

        Raises:
            TierfsError, OSError: the target cannot be written.
        """
        with self._copying:
            if not self._feed.is_written or self._feed.generation != self._generation:
                self._begin_anew()
            if self._copier is None and self._has_backup():
                self._copier = self._opened()
            if self._copier is None:
                self._advance(self._feed.last())
            else:
                self._advance(self._copier.copy())
        while self._feed.trim():
            pass

    def _begin_anew(self) -> None:
        """Changes are missing from the feed, since flash was full: another backup is due."""
        if self._copier is not None:
            self._copier.close()
            self._copier = None
        self._position = self._feed.register(COPY, anew=True)
        self._generation = self._feed.generation

    def _advance(self, serial: int) -> None:
        if serial > self._position:
            self._feed.advance(COPY, serial)
            self._position = serial

    def _has_backup(self) -> bool:
        generation = self._feed.generation
        try:
            found = backups(self._directory)
        except FileNotFoundError:
            return False
        return any(generation.startswith(each.generation) for each in found)

    def copy_before_freeing(self) -> None:
        """Copy what the feed has before objects are freed, which a restore would look for.

        The task that copies reports a target that fails: that must not keep flash full.
        """
        try:
            self.copy()
        except (TierfsError, OSError) as error:
            if not self._reported:
                log.warning("the change feed is not copied (%s): a restore may miss moves", error)
            self._reported = True
        else:
            self._reported = False

    def _opened(self) -> FeedCopier:
        make_directory(self._directory)
        index = self._volume.index
        copier = FeedCopier(index.path, index.sync)
        try:
            self._begin_segment(copier, anew=False)
        except BaseException:
            copier.close()
            raise
        return copier

    def _begin_segment(self, copier: FeedCopier, *, anew: bool) -> None:
        """Go on with the last segment; with a new one where it ends too early, or ``anew``."""
        generation = self._feed.generation
        start = self._position
        found = segments(self._directory, generation)
        if found:
            segment = copier.write_to(found[-1].path)
            if segment.generation == generation and segment.end >= start:
                if not anew:
                    return
                start = segment.end
            else:
                self._broken = True
        path = self._directory / segment_name(generation, start)
        if not path.exists():
            make_segment(path, generation, start)
        copier.write_to(path)

    def make(self) -> Made:
        """Make a backup now, in a worker process.

        Raises:
            UsageError: one is being made.
            TierfsError, OSError: it failed.
        """
        if not self._making.acquire(blocking=False):
            raise UsageError("a backup is being made already")
        try:
            after = self._feed.register(BACKUP, anew=True)
            if self.on:
                with self._copying:
                    if self._copier is None:
                        self._copier = self._opened()
                    self._advance(self._copier.copy())
                    self._begin_segment(self._copier, anew=True)
                    self._broken = False
            job = Job(
                self._volume.index.path,
                self._directory,
                self._settings.keep,
                self._settings.memory,
                after,
            )
            checkpoints = self._volume.index.checkpoint_for_snapshot()
            return run_in_worker(
                make_backup,
                job,
                checkpoints,
                descriptors=[checkpoints],
                cancelled=self._stopping,
            )
        finally:
            self._feed.unregister(BACKUP)
            self._making.release()

    def make_if_due(self) -> None:
        """Make a backup where the last one is older than the interval.

        Raises:
            TierfsError, OSError: it failed; it is tried again after a while.
        """
        if not self.on or not self._is_due():
            return
        made = self.make()
        log.info(
            "backup %s: the index of %d bytes, in %d",
            made.path,
            made.index_bytes,
            made.backup_bytes,
        )

    def _is_due(self) -> bool:
        if self._broken or not self._has_backup():
            return True
        last = backups(self._directory)[-1].made
        return system_clock() - last >= self._settings.interval

    def status(self) -> dict[str, Any]:
        """Where the backups are, when the last one was made, and what is not copied; for JSON."""
        if not self.on:
            return {"on": False, "directory": str(self._directory), "last_s": None, "behind": None}
        last = backups(self._directory)[-1].made // 10**9 if self._has_backup() else None
        return {
            "on": True,
            "directory": str(self._directory),
            "last_s": last,
            "behind": self._feed.last() - self._position,
        }

    def show(self) -> dict[str, Any]:
        """Make a backup; what it is, for JSON."""
        made = self.make()
        return {
            "path": str(made.path),
            "serial": made.state.serial,
            "generation": made.state.generation,
            "index_bytes": made.index_bytes,
            "backup_bytes": made.backup_bytes,
        }

    def _close(self) -> None:
        """Copy what is left, before the index is closed."""
        try:
            self.copy()
        except (TierfsError, OSError) as error:
            log.warning("the change feed was not copied to its end: %s", error)
        with self._copying:
            if self._copier is not None:
                self._copier.close()
                self._copier = None
