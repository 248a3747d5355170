"""Data sets of files of different sizes, each of which can tell whether it was read whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple

from tierfs.base.errors import DamageFound
from tierfs.base.units import KIB, MIB, format_size
from tierfs.bench.dataset import A_DIRECTORY, MANIFEST
from tierfs.bench.framework.side import Side, work_directory
from tierfs.bench.room import require_room

CHECK: Final = 4
"""Bytes at the end of each file: the CRC-32 of those before."""


SMALL: Final = 64 * KIB
"""What counts as a small file, in bytes: the head that a volume keeps on flash by default."""


class File(NamedTuple):
    """The encoded path of a file and its size in bytes."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """``files`` sizes between ``least`` and ``most`` bytes, evenly spread."""

    files: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Mixed:
    """Files of the sizes of every part, in an order that ``seed`` decides."""

    parts: tuple[Sizes, ...]
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of its directory."""
        parts = [f"{part.files}x{part.least}-{part.most}" for part in self.parts]
        return "_".join([*parts, f"seed{self.seed}"])

    @property
    def mean(self) -> float:
        """Bytes of a file in the mean."""
        return sum(self.sizes()) / len(self.sizes())

    def sizes(self) -> list[int]:
        """The size of every file, in the order in which they are made."""
        chance = random.Random(self.seed)
        sizes = [
            chance.randint(part.least, part.most) for part in self.parts for _ in range(part.files)
        ]
        chance.shuffle(sizes)
        return sizes

    def ordered(self, side: Side, seed: int) -> list[File]:
        """Every file on a side, in a random order that ``seed`` decides."""
        root = os.fsencode(work_directory(side) / self.name)
        files = [File(root + b"/" + name, size) for name, size in self._named()]
        random.Random(seed).shuffle(files)
        return files

    def provide(self, side: Side) -> None:
        """Make the files on a side, unless they are there.

        Raises:
            TierfsError: there is not enough room.
            OSError: a call failed.
        """
        root, sizes = work_directory(side) / self.name, self.sizes()
        if (root / MANIFEST).exists():
            return
        shutil.rmtree(root, ignore_errors=True)
        require_room(side.directory, len(sizes), int(self.mean))
        chance = random.Random(self.seed)
        for name, size in self._named():
            path = root / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(checked(chance.randbytes(size - CHECK)))
        # Written last, so that an interrupted run leaves none.
        (root / MANIFEST).write_text(json.dumps(asdict(self)), encoding="utf-8")

    def _named(self) -> Iterator[tuple[bytes, int]]:
        for number, size in enumerate(self.sizes()):
            yield b"%05d/%07d.bin" % (number // A_DIRECTORY, number), size


def checked(data: bytes) -> bytes:
    """``data`` with its CRC-32 behind it."""
    return data + zlib.crc32(data).to_bytes(CHECK, "big")


def check(file: File, data: bytes | memoryview) -> None:
    """Raise DamageFound unless ``data`` is the whole content of ``file``."""
    if len(data) != file.size:
        raise DamageFound(f"{os.fsdecode(file.path)}: {len(data)} bytes instead of {file.size}")
    if zlib.crc32(data[:-CHECK]).to_bytes(CHECK, "big") != data[-CHECK:]:
        raise DamageFound(f"{os.fsdecode(file.path)}: its bytes are not those that were written")


def mostly_small(files: int, seed: int = 0) -> Mixed:
    """Of each five files four have at most 64 KiB, and one has up to 1 MiB."""
    large = max(1, files // 5)
    small = Sizes(max(1, files - large), 4 * KIB, SMALL)
    return Mixed((small, Sizes(large, SMALL + 1, MIB)), seed)


def images(files: int, least: int, most: int, seed: int = 0) -> Mixed:
    """Files of one kind."""
    return Mixed((Sizes(files, least, most),), seed)


def span(least: int, most: int) -> str:
    """A range of sizes for people, such as ``10KiB to 60KiB``."""
    return f"{format_size(least)} to {format_size(most)}"
