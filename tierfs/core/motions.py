"""Which files are being copied from tier to tier, and which of those somebody changed meanwhile.

The copier holds no lock while it reads and syncs. So each change of a file's bytes *disturbs* its
motion, at its beginning and under the inode's lock: the copier looks under that lock before each
write, and gives up. The reclaimer leaves the objects of a file in motion alone.
"""

from __future__ import annotations

import threading


class Motions:
    """Inode numbers; there are as many as threads that move files. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._disturbed: dict[int, bool] = {}

    def begin(self, ino: int) -> bool:
        """A file is going to be moved; False: another thread moves it already."""
        with self._mutex:
            if ino in self._disturbed:
                return False
            self._disturbed[ino] = False
            return True

    def end(self, ino: int) -> None:
        """The move that was begun is over."""
        with self._mutex:
            del self._disturbed[ino]

    def disturb(self, ino: int) -> None:
        """The file's bytes are going to change; called under the inode's lock."""
        if self._disturbed:
            with self._mutex:
                if ino in self._disturbed:
                    self._disturbed[ino] = True

    def is_disturbed(self, ino: int) -> bool:
        """Whether the file changed since its motion began; certain under the inode's lock."""
        return self._disturbed.get(ino, True)

    def holds(self, ino: int) -> bool:
        """Whether the file is in motion."""
        return ino in self._disturbed
