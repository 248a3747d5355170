"""MKNOD and WRITE, of which making a small file consists, called by the router.

By way of pyfuse3 and the event loop each takes longer than the work itself. What would have to
wait for the disk or for another change goes that way all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tierfs.base.metrics import Metrics
from tierfs.core.filesystem import FileSystem
from tierfs.core.locks import WouldBlock
from tierfs.core.names import Owner
from tierfs.index.inodes import Inode
from tierfs.mount.requests import error_number

T = TypeVar("T")


class Direct:
    """Functions for ``Router.call``; they never raise, and return an error as a number below 0.

    What succeeds the router counts, what fails is counted here.
    """

    def __init__(self, fs: FileSystem, metrics: Metrics, *, masks: bool) -> None:
        """``masks``: the kernel leaves the umask to us."""
        self._fs = fs
        self._metrics = metrics
        self._masks = masks

    def write(self, ino: int, offset: int, data: memoryview) -> int | None:
        """WRITE: how many bytes were written; None: it must wait."""
        return self._measured("write", lambda: self._fs.data.write(ino, offset, data, wait=False))

    def make(
        self, parent: int, name: bytes, mode: int, rdev: int, uid: int, gid: int, umask: int
    ) -> Inode | int | None:
        """MKNOD: the inode, with a reference."""
        owner = Owner(uid, gid, umask if self._masks else 0)
        return self._measured(
            "mknod", lambda: self._fs.names.make(parent, name, mode, owner, rdev=rdev)
        )

    def _measured(self, operation: str, work: Callable[[], T]) -> T | int | None:
        if self._fs.dirty.recovering or not self._fs.is_free():
            return None  # the thread that calls is the one that other clients' requests need
        started = time.perf_counter()
        try:
            return work()
        except WouldBlock:
            return None
        except Exception as exc:  # noqa: BLE001 - one bug must not end the mount
            return -error_number(exc, operation, self._metrics, time.perf_counter() - started)
