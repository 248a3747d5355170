"""Backups of a mount: the copy of the change feed, every other second, and the backups themselves.

Both are made beside the work: the feed is read for a moment by a connection of its own, a backup in
a worker process at the lowest priority. With ``feed: sync`` an fsync waits for the copy; threads
that wait share one. What could not be written sticks to it, as it does to a file, until another
backup is made, from which another segment continues.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from tierfs.backup.files import BACKUP, COPY, backups, directory_of, segment_name, segments
from tierfs.backup.making import Job, Made, make_backup, make_directory
from tierfs.common.errors import FsError, TierfsError, UsageError
from tierfs.common.metrics import Metrics
from tierfs.common.sync import GroupSync
from tierfs.common.times import system_clock
from tierfs.common.units import SECOND
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import run_in_worker
from tierfs.fs.volume import Volume
from tierfs.metadata.feed_copy import FeedCopier, make_segment

log = logging.getLogger(__name__)

COPIED_EVERY_S: Final = 2.0
CHECKED_EVERY_S: Final = 5.0

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors after which nothing is lost: the copy is written again when there is room."""


class Backups:
    """The backups of one mount. Thread-safe."""

    def __init__(self, volume: Volume, metrics: Metrics, stopping: Callable[[], bool]) -> None:
        self._volume = volume
        self._settings = volume.settings.backup
        self._feed = volume.index.feed
        self._metrics = metrics
        self._stopping = stopping
        self._directory = directory_of(volume.settings)
        self._copier: FeedCopier | None = None
        self._making = threading.Lock()
        self._copying = threading.Lock()
        self._group_copy = GroupSync(self._copy_for_group)
        self._reported = False
        self._generation = ""
        self._position = 0
        """The serial of the feed up to which everything is copied."""
        self._broken = False
        """Whether the copy does not continue from a backup that there is."""
        self._failed = 0
        """The errno of a copy that failed, and sticks."""
        self._problem = ""
        """Why the last attempt to make a backup failed; empty: it did not."""
        self._gap: int | None = None
        """Since the copy was started over: what follows this change is in no copy, until a backup
        is made; None: it continues from one."""
        self.on = self._settings.enabled and not volume.read_only
        interval = self._settings.interval / SECOND if self.on else 0
        metrics.backup_interval_seconds.set(interval)
        if self.on:
            # Before a request changes anything: what is not in the feed is in no copy either.
            self._position = self._feed.register(COPY)
            self._generation = self._feed.generation
            self._feed.catch_up = self.copy_before_freeing
            self._feed.on_close = self._close
            if self._settings.at_sync:
                self._feed.at_sync = self.copy_at_sync
            self._feed.unregister(BACKUP)  # of a daemon that was killed
        elif not volume.read_only:
            for name in (COPY, BACKUP):
                self._feed.unregister(name)

    def copy(self) -> None:
        """Copy what the feed has, durably, and trim it.

        Without a backup from which the copy could continue there is nothing to copy for.

        Raises:
            TierfsError, OSError: the target cannot be written.
        """
        try:
            self._copy()
        except (TierfsError, OSError):
            self._metrics.feed_copy_failures.inc()
            raise
        finally:
            self._metrics.feed_behind.set(self._behind())
        while self._feed.trim():
            pass

    def _behind(self) -> int:
        """Changes that are in no copy from which a restore would take them."""
        copied = self._position if self._gap is None else self._gap
        return self._feed.last() - copied

    def _copy(self) -> None:
        with self._copying:
            if not self._is_followed():
                self._begin_anew()
            if self._copier is None and self._has_backup():
                self._copier = self._opened()
            if self._copier is None:
                self._advance(self._feed.last())
            else:
                self._advance(self._copied(self._copier))

    def _copied(self, copier: FeedCopier) -> int:
        """Copy; returns the serial up to which everything is copied."""
        try:
            return copier.copy()
        except (TierfsError, OSError) as error:
            number = error.errno if isinstance(error, FsError | OSError) else None
            if number not in NO_ROOM:
                self._failed = number or errno.EIO
                if self._settings.at_sync:
                    log.error(  # noqa: TRY400 - for people
                        "the change feed could not be copied (%s): fsync fails until another "
                        "backup is made",
                        error,
                    )
            raise

    def copy_at_sync(self) -> None:
        """Copy all that was committed by now, durably; threads that wait share one copy.

        Raises:
            FsError: ENOSPC: there is no room for it on flash or on the target; else EIO: it could
                not be written, now or earlier.
        """
        try:
            self._group_copy()
        except OSError as error:
            raise FsError(error.errno or errno.EIO, error.strerror or "") from error

    def _copy_for_group(self) -> None:
        """As `copy_at_sync`, with an OSError."""
        try:
            self._copy_behind_a_backup()
        except FsError as error:
            raise OSError(error.errno, str(error)) from error
        except TierfsError as error:
            raise OSError(errno.EIO, str(error)) from error

    def _copy_behind_a_backup(self) -> None:
        """Copy, and have a backup from which the copy continues."""
        if self._failed:
            raise FsError(self._failed, "an earlier copy of the change feed failed")
        if self._copier is None or self._broken or not self._is_followed():
            self._go_on_from_a_backup()
        with self._copying:
            if self._copier is None or not self._is_followed():
                raise FsError(errno.ENOSPC, "flash was full: the change feed starts over")
            self._advance(self._copied(self._copier))

    def _go_on_from_a_backup(self) -> None:
        """Make a backup if there is none that the copy continues from."""
        with self._copying:
            if not self._is_followed():
                self._begin_anew()
            if not self._feed.is_written:
                raise FsError(errno.ENOSPC, "flash is full: the change feed is not written")
            if self._copier is None and not self._broken and self._has_backup():
                self._copier = self._opened()
        if self._copier is None or self._broken:
            self._make(wait=True)

    def _is_followed(self) -> bool:
        """Whether each change since the position is in the feed."""
        return self._feed.is_written and self._feed.generation == self._generation

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

    def _opened(self, *, anew: bool = False) -> FeedCopier:
        """A copier, with the last segment; ``anew``: with one that begins at the position."""
        make_directory(self._directory)
        index = self._volume.index
        copier = FeedCopier(index.path, index.sync, flush=index.flush)
        try:
            if anew:
                self._write_to_new(copier, self._position)
            else:
                self._begin_segment(copier, anew=False)
        except BaseException:
            copier.close()
            raise
        return copier

    def _begin_segment(self, copier: FeedCopier, *, anew: bool) -> None:
        """Continue with the last segment; with a new one where it ends too early, or ``anew``."""
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
        elif all(each.serial < start for each in backups(self._directory)):
            self._broken = True
        self._write_to_new(copier, start)

    def _write_to_new(self, copier: FeedCopier, start: int) -> None:
        generation = self._feed.generation
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
        return self._make(wait=False)

    def _make(self, *, wait: bool) -> Made:
        if not self._making.acquire(blocking=wait):
            raise UsageError("a backup is being made already")
        try:
            after = self._feed.register(BACKUP, anew=True)
            if self.on:
                with self._copying:
                    self._begin_for_backup(after)
            job = Job(
                self._volume.index.path,
                self._directory,
                self._settings.keep,
                self._settings.memory,
                after,
            )
            checkpoints = self._volume.index.checkpoint_for_snapshot()
            made = run_in_worker(
                make_backup,
                job,
                Passed(checkpoints),
                cancelled=self._stopping,
            )
        except BaseException:
            self._broken = self._broken or not self._has_backup()
            raise
        else:
            self._broken, self._failed, self._problem = False, 0, ""
            self._gap = None
            self._export()
            return made
        finally:
            self._feed.unregister(BACKUP)
            self._making.release()

    def _begin_for_backup(self, after: int) -> None:
        """Begin the segment that continues from the backup of the state behind ``after``, or later.

        If the last one cannot be gone on with, only older backups need it.
        """
        try:
            if not self._is_followed():
                self._begin_anew()
            if self._copier is None:
                self._copier = self._opened()
            self._advance(self._copied(self._copier))
            self._begin_segment(self._copier, anew=True)
        except (TierfsError, OSError) as error:
            log.warning("the copy of the change feed is started over: %s", error)
            self._broken = True
            self._gap = self._position if self._gap is None else self._gap
            if self._copier is not None:
                self._copier.close()
                self._copier = None
            (self._directory / segment_name(self._feed.generation, after)).unlink(missing_ok=True)
            self._advance(after)
            self._copier = self._opened(anew=True)

    def make_if_due(self) -> None:
        """Make a backup where the last one is older than the interval.

        Raises:
            TierfsError, OSError: it failed; it is tried again after a while.
        """
        if not self.on or not self._is_due():
            return
        try:
            made = self.make()
        except UsageError:
            return  # somebody has asked for one
        except (TierfsError, OSError) as error:
            self._note_failure(error)
            raise
        log.info(
            "backup %s: the index of %d bytes, in %d",
            made.path,
            made.index_bytes,
            made.backup_bytes,
        )

    def _note_failure(self, error: Exception) -> None:
        self._problem = str(error)
        self._metrics.backup_failures.inc()

    def _export(self) -> None:
        """Bring the gauges up to date."""
        last = backups(self._directory)[-1]
        self._metrics.backup_last_timestamp_seconds.set(last.made / SECOND)
        self._metrics.backup_bytes.set(last.bytes)

    def _is_due(self) -> bool:
        if self._broken or self._failed or not self._has_backup():
            return True
        self._export()
        last = backups(self._directory)[-1].made
        return system_clock() - last >= self._settings.interval

    def status(self) -> dict[str, Any]:
        """Where the backups are, when the last one was made, and what is not copied; for JSON."""
        if not self.on:
            return {
                "on": False,
                "directory": str(self._directory),
                **dict.fromkeys(("last_s", "bytes", "behind", "feed", "problem")),
            }
        last = backups(self._directory)[-1] if self._has_backup() else None
        return {
            "on": True,
            "directory": str(self._directory),
            "last_s": None if last is None else last.made // SECOND,
            "bytes": None if last is None else last.bytes,
            "behind": self._behind(),
            "feed": self._settings.feed,
            "problem": self._problem or None,
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
