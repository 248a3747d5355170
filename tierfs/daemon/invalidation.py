"""Without the fast path: the kernel is told of each change that what it remembers is old.

Why it must be, and why that waits for nothing: ``tierfs/native/src/telling.h``. Who asked for
attributes is not noted here, so it is told of every change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyfuse3

from tierfs.fs.lookup_counts import LookupCounter
from tierfs.fs.volume import RouterPorts
from tierfs.metadata.cache_updater import NoMetadataCache
from tierfs.metadata.inodes import Inode


class Invalidation(NoMetadataCache):
    """A view that keeps nothing, and passes changes on to the kernel while it is served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Held while the kernel is told, since pyfuse3 must not be closed then."""
        self._serving = False

    def make_ports(self, _heads: int, _objects: int) -> RouterPorts:
        """The ports of a volume; see ``tierfs.fs.volume``."""
        return RouterPorts(self, LookupCounter())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A block in which pyfuse3 is connected to the kernel."""
        self._set(serving=True)
        try:
            yield
        finally:
            self._set(serving=False)

    def change_inode(self, row: Inode, /) -> None:
        """See ``MetadataCache``; an inode without a name is not told of."""
        if not row.nlink:
            return
        with self._lock:
            if self._serving:
                # ENOENT: the kernel does not know the inode; else the connection is over.
                with suppress(OSError):
                    pyfuse3.invalidate_inode(row.ino, attr_only=True)

    def _set(self, *, serving: bool) -> None:
        with self._lock:
            self._serving = serving
