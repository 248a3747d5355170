"""A simulated disk as a directory (tests/benchmarks/disk): reads take as long as on a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.mounting import mounts_at, unmount_by_force

PROGRAM = [sys.executable, "-m", "tests.benchmarks", "disk"]


class Drive:
    """A disk that is mounted on `path`; its files are in `backing`."""

    def __init__(self, home: Path) -> None:
        self.backing = home / "backing"
        self.path = home / "drive"
        for path in (self.backing, self.path):
            path.mkdir(parents=True, exist_ok=True)

    def counters(self) -> dict[str, float]:
        """What its head has done since the last `forget`."""
        told = json.loads(os.getxattr(self.path, "user.disk.counters"))
        assert isinstance(told, dict)
        return told

    def forget(self) -> None:
        """Count from 0 again."""
        os.setxattr(self.path, "user.disk.counters", b"0")


@contextmanager
def started(drive: Drive, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A program that serves a disk, to be ended by the test; by default it is infinitely fast."""
    words = [*PROGRAM, *(options or ("--scale", "0")), str(drive.backing), str(drive.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("is mounted on" in line for line in process.stdout)
            yield process
        finally:
            process.kill()
            unmount_by_force(drive.path)


@contextmanager
def mounted_disk(home: Path, *options: str) -> Iterator[Drive]:
    """A disk below `home`, unmounted in the end."""
    drive = Drive(home)
    with started(drive, *options) as process:
        yield drive
        process.terminate()
        assert process.wait(20) == 0
        assert not mounts_at(drive.path)
