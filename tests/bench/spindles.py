"""A simulated drive for the tests, mounted as its user does it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.mounting import mounts_at, unmount_by_force

ENDING_S = 20


class Drive:
    """A drive that is mounted on ``path``; its files are in ``backing``."""

    def __init__(self, backing: Path, path: Path) -> None:
        self.backing = backing
        self.path = path

    def counters(self) -> dict[str, float]:
        """What its head has done since the last `forget`."""
        told = json.loads(os.getxattr(self.path, "user.spindle.counters"))
        assert isinstance(told, dict)
        return told

    def forget(self) -> None:
        """Count from 0 again."""
        os.setxattr(self.path, "user.spindle.counters", b"0")


@contextlib.contextmanager
def spindle(home: Path, *options: str) -> Iterator[Drive]:
    """Mount a drive below ``home``, by default an infinitely fast one; unmount it in the end."""
    drive = Drive(home / "backing", home / "drive")
    for directory in (drive.backing, drive.path):
        directory.mkdir(parents=True, exist_ok=True)
    words = [*(options or ("--scale", "0")), str(drive.backing), str(drive.path)]
    with subprocess.Popen(
        [sys.executable, "-m", "tierfs", "bench", "spindle", *words],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any("is mounted on" in line for line in process.stdout)
            yield drive
            process.terminate()
            assert process.wait(ENDING_S) == 0
            assert not mounts_at(drive.path)
        finally:
            process.kill()
            unmount_by_force(drive.path)
