"""Data sets, generated once and found again by the next run."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.machine import require_room
from tests.benchmarks.scenario import Side, work_directory
from tierfs.common.errors import DamageFound, TierfsError
from tierfs.common.units import KIB, MIB, format_size

A_DIRECTORY: Final = 200
"""Files in each directory."""
MANIFEST: Final = "dataset.json"
LABEL: Final = "user.bench.label"
ABSENT: Final = "user.bench.absent"
LABEL_VALUE: Final = b"mitosis"
_WITHOUT_XATTRS: Final = {errno.EOPNOTSUPP, errno.EPERM}
_MARK: Final = 8


@dataclass(frozen=True, slots=True)
class Dataset:
    """``files`` files of ``size`` bytes of noise; ``labelled``: each with the attribute `LABEL`."""

    files: int
    size: int
    labelled: bool = False

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.files}x{self.size}" + ("-labelled" if self.labelled else "")

    def root(self, side: Side) -> Path:
        """Its directory on a side."""
        return work_directory(side) / self.name

    def names(self) -> Iterator[str]:
        """The path of every file below the root, in the order in which they are made."""
        for number in range(self.files):
            yield f"{number // A_DIRECTORY:05}/{number:07}.bin"

    def ordered(self, side: Side, seed: int) -> list[bytes]:
        """The encoded path of every file, in a random order that ``seed`` decides."""
        root = os.fsencode(self.root(side))
        paths = [root + b"/" + name.encode("ascii") for name in self.names()]
        random.Random(seed).shuffle(paths)
        return paths

    def provide(self, side: Side) -> None:
        """Make the files on a side, unless they are there.

        Raises:
            TierfsError: there is not enough room, or the side is read-only.
            OSError: a call failed.
        """
        root = self.root(side)
        if self._matches(root):
            return
        shutil.rmtree(root, ignore_errors=True)
        require_room(side.directory, self.files, self.size)
        try:
            self._make(root)
        except OSError as error:
            if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise TierfsError(f"{root} cannot be made: {error.strerror}") from error
            raise

    def has_labels(self, side: Side) -> bool:
        """Whether the files carry the attribute: not every filesystem has such attributes."""
        try:
            first = self.root(side) / next(self.names())
            return os.getxattr(first, LABEL) == LABEL_VALUE
        except OSError:
            return False

    def _matches(self, root: Path) -> bool:
        """A manifest is written last, so that an interrupted run leaves none."""
        try:
            manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return bool(manifest == asdict(self)) and self._found(root) == self.files

    def _found(self, root: Path) -> int:
        """How many of its files are there; 0 when one that was looked at has a wrong size."""
        found = 0
        for directory in (entry for entry in root.iterdir() if entry.is_dir()):
            names = os.listdir(directory)
            if not names or (directory / names[0]).stat().st_size != self.size:
                return 0
            found += len(names)
        return found

    def _make(self, root: Path) -> None:
        root.mkdir(parents=True)
        noise = bytearray(random.Random(self.size).randbytes(self.size))
        for number, name in enumerate(self.names()):
            if number % A_DIRECTORY == 0:
                (root / name).parent.mkdir()
            # Each file is different, for a filesystem that shares equal blocks is no comparison.
            noise[:_MARK] = number.to_bytes(_MARK, "big")[: self.size]
            _write(root / name, noise)
            if self.labelled:
                _label(root / name)
        (root / MANIFEST).write_text(json.dumps(asdict(self)), encoding="utf-8")


def _write(path: Path, data: bytes | bytearray) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _label(path: Path) -> None:
    try:
        os.setxattr(path, LABEL, LABEL_VALUE)
    except OSError as error:
        if error.errno not in _WITHOUT_XATTRS:
            raise


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
