"""A tree of source code: unpacked, synchronised again, deleted, by the programs that people use."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.machine import Coldness, require_room
from tests.benchmarks.scenario import Better, Figure, Side, Turn, work_directory
from tierfs.common.errors import TierfsError

UNTAR: Final = "untar"
UNTAR_SYNC: Final = "untar, sync"
RSYNC: Final = "rsync -a again"
REMOVE: Final = "rm -rf"
FIGURES: Final = (UNTAR, UNTAR_SYNC, RSYNC, REMOVE)

MEDIAN: Final = 6000
SPREAD: Final = 1.5
"""Of the sizes of files, log-normal: 18 KB in the mean, as in the sources of Linux."""
MOST: Final = 1 << 20
A_DIRECTORY: Final = 16
"""Files in each directory."""


@dataclass(frozen=True, slots=True)
class Tree:
    """``archive``, an uncompressed tar file, or one made of ``files`` files.

    ``cold``: the kernel's caches are dropped before each part. The archive and what rsync compares
    with lie beside the side, so on the filesystem below it.
    """

    name: str
    files: int = 80_000
    archive: Path | None = None
    cold: bool = False

    @property
    def figures(self) -> Sequence[Figure]:
        """Seconds of each part; ``UNTAR_SYNC`` with the syncfs(2) that follows it."""
        needs = Coldness.KERNEL if self.cold else Coldness.WARM
        return [Figure(name, "s", Better.LESS, needs) for name in FIGURES]

    def prepare(self, side: Side) -> None:
        """Have the archive, and its content unpacked, beside the side."""
        archive, source = _beside(side)
        if not archive.exists():
            if self.archive:
                shutil.copyfile(self.archive, archive)
            else:
                _make(archive, self.files)
        size = archive.stat().st_size
        require_room(side.directory, 1, size)
        if not source.exists():
            source.mkdir()
            _run("tar", "-xf", archive, "-C", source)
        _home(side).mkdir(parents=True, exist_ok=True)

    def run(self, turn: Turn) -> Mapping[str, float]:
        """Unpack, synchronise, delete."""
        archive, source = _beside(turn.side)
        target = _home(turn.side) / str(turn.number)
        target.mkdir()
        untar = self._seconds(turn, "tar", "-xf", archive, "-C", target)
        synced = untar + turn.timed([partial(_run, "sync", "-f", target)]).seconds
        again = self._seconds(turn, "rsync", "-a", f"{source}/", f"{target}/")
        remove = self._seconds(turn, "rm", "-rf", target)
        return dict(zip(FIGURES, (untar, synced, again, remove), strict=True))

    def finish(self, side: Side) -> None:
        """Delete what an interrupted turn left."""
        shutil.rmtree(_home(side), ignore_errors=True)

    def _seconds(self, turn: Turn, *words: str | Path) -> float:
        if self.cold:
            turn.chill()
        return turn.timed([partial(_run, *words)]).seconds


def _run(*words: str | Path) -> None:
    """Raises TierfsError unless the command ends with 0."""
    try:
        done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise TierfsError(f"{words[0]}: {error.strerror}; is it installed?") from error
    if done.returncode:
        first, *others = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        said = f"{first} ({len(others)} more lines)" if others else first
        raise TierfsError(f"{' '.join(map(str, words))} ended with {done.returncode}: {said}")


def _make(archive: Path, files: int) -> None:
    """Text-like files in nested directories; written under another name until it is whole."""
    chance, part = random.Random(files), archive.with_suffix(".part")
    noise = chance.randbytes(MOST)
    with tarfile.open(part, "w") as tar:
        for number in range(files):
            directory = number // A_DIRECTORY
            name = f"tree/{directory // 256:03}/{directory % 256:03}/file-{number:06}.c"
            size = min(MOST, int(chance.lognormvariate(0, SPREAD) * MEDIAN))
            member = tarfile.TarInfo(name)
            member.size, member.mtime = size, 1_700_000_000 + number
            start = chance.randrange(MOST - size + 1)
            tar.addfile(member, io.BytesIO(noise[start : start + size]))
    part.replace(archive)


def _beside(side: Side) -> tuple[Path, Path]:
    home = side.directory.parent
    return home / "tree.tar", home / "tree.source"


def _home(side: Side) -> Path:
    return work_directory(side) / f"tree-{os.getpid()}-{side.name}"
