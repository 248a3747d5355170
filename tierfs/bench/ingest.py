"""Ingest: create a small file, write it in one call, close it; and the next one."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from tierfs.base.units import KIB
from tierfs.bench.dataset import A_DIRECTORY
from tierfs.bench.framework.scenario import Turn, rate, rated
from tierfs.bench.framework.side import Side, work_directory
from tierfs.bench.loops import create_files
from tierfs.bench.room import require_room

CREATE: Final = "create"


@dataclass(frozen=True, slots=True)
class Ingest:
    """``writers`` processes share ``files`` files of ``size`` bytes, each in its directories."""

    files: int = 2000
    size: int = 32 * KIB
    writers: int = 1
    name: str = "ingest"
    figures: ClassVar = rate(CREATE, "files/s")

    def prepare(self, side: Side) -> None:
        """Look whether there is room, and make the directory of the run."""
        require_room(side.directory, self.files, self.size)
        self._home(side).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Create the files of one turn, which stay until the end.

        Some filesystems go on deleting in the background: it would disturb who is measured next.
        """
        require_room(turn.side.directory, self.files, self.size)
        home = self._home(turn.side) / str(turn.number)
        block = random.Random(turn.number).randbytes(self.size)
        shares = [self._paths(home / str(writer), writer) for writer in range(self.writers)]
        lap = turn.timed([partial(create_files, share, block) for share in shares])
        return rated(CREATE, self.files, lap)

    def finish(self, side: Side) -> None:
        """Delete what was written."""
        shutil.rmtree(self._home(side), ignore_errors=True)

    def _home(self, side: Side) -> Path:
        """Of this process and side, since a peer may lie over the data of another side."""
        return work_directory(side) / f"ingest-{os.getpid()}-{self.writers}-{side.name}"

    def _paths(self, home: Path, writer: int) -> list[bytes]:
        """The encoded paths of one writer's share; makes their directories."""
        names = [
            f"{number // A_DIRECTORY:05}/{number:07}.bin"
            for number in range(writer, self.files, self.writers)
        ]
        for directory in dict.fromkeys(name.partition("/")[0] for name in names):
            (home / directory).mkdir(parents=True)
        return [os.fsencode(home / name) for name in names]
