"""When the log is folded into the database file: what another process must know to read that file.

SQLite writes commits to its log alone, and the database file only in a checkpoint. Between two
checkpoints the file is therefore a whole, consistent state, the one of the last of them, which
another process may read without locks (``immutable``, https://www.sqlite.org/uri.html). Whether a
checkpoint began meanwhile, so that what was read is worth nothing, two counters in shared memory
tell: a sequence lock. The daemon waits for no reader, and its own locks stay in its memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from typing import Final

_COUNTERS: Final = struct.Struct("=QQ")


class Folds:
    """The daemon's side: a block is one checkpoint."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("tierfs-folds", os.MFD_CLOEXEC)
        """For another process's `FoldsSeen`."""
        os.ftruncate(self.descriptor, _COUNTERS.size)
        self._memory = mmap.mmap(self.descriptor, _COUNTERS.size)
        self._lock = threading.Lock()
        self._begun = self._ended = 0

    def __enter__(self) -> None:
        with self._lock:
            self._begun += 1
            self._show()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended += 1
            self._show()

    def close(self) -> None:
        """No more checkpoints, and no descriptor."""
        self._memory.close()
        os.close(self.descriptor)

    def _show(self) -> None:
        _COUNTERS.pack_into(self._memory, 0, self._begun, self._ended)


class FoldsSeen:
    """The reader's side, on the descriptor of a `Folds`."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _COUNTERS.size, prot=mmap.PROT_READ)

    @property
    def settled(self) -> int | None:
        """How many checkpoints there were; None while one is under way."""
        begun, ended = _COUNTERS.unpack_from(self._memory)
        return int(begun) if begun == ended else None

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
