"""Somebody who pins, promotes and demotes files at random, as the owner of a job would."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
import time
from pathlib import Path
from typing import Final

PREFIXES: Final = (b"all", b"all", b"none", b"none", b"64KiB", b"128KiB", b"4KiB")
PASSING: Final = {errno.ENOENT, errno.ESTALE, errno.ENODATA, errno.EBUSY}
"""The file is gone or is pinned at the moment."""
PAUSE_S: Final = 0.005


class Meddler(threading.Thread):
    """Sets ``tierfs.pin`` and ``tierfs.prefix`` on files below ``root`` until told to stop."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(daemon=True, name="meddler")
        self.root = root
        self.error: BaseException | None = None
        self.done = 0
        self._random = random.Random(seed)
        self._over = threading.Event()

    def stop(self) -> None:
        """End soon."""
        self._over.set()

    def run(self) -> None:
        """One file after the other."""
        try:
            while not self._over.is_set():
                for path in self._some():
                    self._touch(path)
                    time.sleep(PAUSE_S)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def _some(self) -> list[Path]:
        files: list[Path] = []
        with contextlib.suppress(FileNotFoundError):
            files = [path for path in self.root.rglob("*") if path.is_file()]
        return self._random.sample(files, min(20, len(files)))

    def _touch(self, path: Path) -> None:
        act = self._random.choice((self._move, self._move, self._pin, self._unpin))
        try:
            act(path)
            self.done += 1
        except OSError as error:
            if error.errno not in PASSING:
                raise

    def _move(self, path: Path) -> None:
        os.setxattr(path, "tierfs.prefix", self._random.choice(PREFIXES))

    def _pin(self, path: Path) -> None:
        os.setxattr(path, "tierfs.pin", self._random.choice((b"1s", b"3s")))

    def _unpin(self, path: Path) -> None:
        os.removexattr(path, "tierfs.pin")
