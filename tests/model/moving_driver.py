"""The core, while a thread moves its files between the tiers without a pause."""

import random
import threading
import time
from pathlib import Path as OsPath

from tests.model.core_driver import CoreDriver
from tierfs.common.extents import WHOLE_FILE

FIRST = 16
"""The smallest inode number that a file can have."""


class MovingDriver(CoreDriver):
    """Names and bytes are to be as if nothing moved."""

    def __init__(self, directory: OsPath, head: int, *, forgetful: bool, seed: int = 0) -> None:
        super().__init__(directory, head, forgetful=forgetful)
        self._prefixes = (0, head // 2, head, WHOLE_FILE)
        self._dice = random.Random(seed)
        self._still = threading.Lock()
        self._stopped = threading.Event()
        self._failed: list[BaseException] = []
        self.moved = 0
        self._mover = threading.Thread(target=self._move_on, daemon=True)
        self._mover.start()

    def remount(self) -> None:
        """Close the volume and open it again; an engine is stopped before."""
        with self._still:
            super().remount()

    def crash(self) -> None:
        """Abandon the volume between two moves; other tests do it within one."""
        with self._still:
            super().crash()

    def forget(self) -> None:
        """Forget, and count objects while none comes or goes."""
        with self._still:
            super().forget()

    def verify(self) -> None:
        """Nothing may be left, and no move may have failed."""
        with self._still:
            super().verify()
        assert self._failed == []

    def finish(self) -> None:
        """Stop moving, and remove the volume."""
        self._stopped.set()
        self._mover.join()
        super().finish()

    def _move_on(self) -> None:
        while not self._stopped.is_set():
            with self._still:
                try:
                    self._move()
                except BaseException as exc:  # noqa: BLE001 - the other thread shows it
                    self._failed.append(exc)
                    return
            time.sleep(0.0001)

    def _move(self) -> None:
        fs, dice = self._fs, self._dice
        last = max(FIRST, self._volume.last_inode())
        if dice.random() < 0.3:
            inos = sorted({dice.randint(FIRST, last) for _ in range(3)})
            done = fs.migrator.mirror(inos, paced=lambda _: None)
        else:
            ino, prefix = dice.randint(FIRST, last), dice.choice(self._prefixes)
            keep = dice.random() < 0.7
            done = [fs.migrator.place(ino, prefix, keep_mirror=keep, paced=lambda _: None)]
        self.moved += sum(moved.outcome == "moved" for moved in done)
