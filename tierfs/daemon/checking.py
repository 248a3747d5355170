"""``tierfs fsck --online``: the check of the volume that this daemon serves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from tierfs.common.errors import NotMounted, UsageError
from tierfs.common.priority import LOW
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import run_in_worker
from tierfs.fs.identity import disagreement, read_markers
from tierfs.fs.volume import Volume
from tierfs.fsck.check import Report
from tierfs.fsck.online import examine_apart, look_again

TRIES: Final = 5
PAUSE_S: Final = 0.2


class OnlineCheck:
    """One check at a time."""

    def __init__(self, volume: Volume, ending: Callable[[], bool]) -> None:
        self._volume = volume
        self._ending = ending
        self._checking = threading.Lock()

    def check(self) -> dict[str, Any]:
        """Check; a record for JSON, with the fields of ``Report``.

        Raises:
            UsageError: one is under way, or the mount is read-only.
            TierfsError, OSError: it failed.
        """
        if self._volume.read_only:
            raise UsageError("it is mounted read-only: unmount it, and check it without --online")
        if not self._checking.acquire(blocking=False):
            raise UsageError("a check is under way already")
        try:
            return self._check()
        finally:
            self._checking.release()

    def _check(self) -> dict[str, Any]:
        volume = self._volume
        checkpoints = volume.index.checkpoint_for_snapshot()
        suspects = run_in_worker(
            examine_apart,
            volume.settings,
            str(volume.uuid),
            Passed(checkpoints),
            nice=LOW,  # somebody waits for it
            cancelled=self._ending,
        )
        placements, path_of = volume.fs.placements, volume.index.path_of
        report = look_again(suspects, placements, path_of, self._disagreement, self._ending)
        if self._ending():
            raise NotMounted("the volume is being unmounted")
        return _record(report)

    def _disagreement(self) -> str:
        """What is of another mount generation than the index; a checkpoint may begin one."""
        settings, index = self._volume.settings, self._volume.index
        what = ""
        for _ in range(TRIES):
            what = disagreement(settings, read_markers(settings), index.generations())
            if not what:
                break
            time.sleep(PAUSE_S)
        return what


def _record(report: Report) -> dict[str, Any]:
    plain = ("volume", "inodes", "files", "objects", "awaiting_removal", "awaiting_trim")
    return {
        **{name: getattr(report, name) for name in (*plain, "complete", "online", "explained")},
        "counts": {kind.name: count for kind, count in report.counts.items()},
        "findings": [
            (found.kind.name, found.ino, found.what, os.fsdecode(found.path))
            for found in report.findings
        ],
    }
