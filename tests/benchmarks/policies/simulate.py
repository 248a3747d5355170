"""One policy on one workload: what is read, what flash holds, what hits.

Everything follows from the seed: two runs give the same numbers on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from tierfs.common.errors import UsageError
from tierfs.common.extents import WHOLE_FILE
from tierfs.tiering.access_log import FileFacts, Recording, Use


class Access(NamedTuple):
    """File ``ino`` is read, or written, at ``time`` (nanoseconds since the first access).

    ``size`` is what the file, or its head, takes on flash, in bytes, and what is read of it.
    """

    time: int
    ino: int
    size: int
    write: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """Accesses in the order of time; those before number ``counted_from`` only warm flash up."""

    name: str
    accesses: Sequence[Access]
    counted_from: int = 0

    @property
    def stored(self) -> int:
        """Bytes of all files together."""
        return sum(sizes_of(self.accesses).values())


def sizes_of(accesses: Sequence[Access]) -> dict[int, int]:
    """Each file's size: the largest that was seen."""
    sizes: dict[int, int] = {}
    for access in accesses:
        sizes[access.ino] = max(access.size, sizes.get(access.ino, 0))
    return sizes


class Policy(Protocol):
    """What is on flash. It is told of every access, in order, and moves files as it likes."""

    @property
    def used(self) -> int:
        """Bytes on flash."""

    def access(self, access: Access, number: int) -> bool:
        """Take note of access ``number`` of the workload; whether the file was on flash before."""

    def holds(self, ino: int) -> bool:
        """Whether a file is on flash now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counted from the workload's ``counted_from`` on; reads and bytes read, and those from flash.

    ``moved`` is in bytes copied from disk to flash because they were read.
    """

    reads: int
    hits: int
    bytes_read: int
    bytes_hit: int
    moved: int

    @property
    def hit_rate(self) -> float:
        """The share of reads that flash answered."""
        return self.hits / self.reads if self.reads else 0.0

    @property
    def byte_hit_rate(self) -> float:
        """The share of bytes read that came from flash."""
        return self.bytes_hit / self.bytes_read if self.bytes_read else 0.0


class OverFull(Exception):
    """A policy keeps more than flash holds: a mistake in the policy."""


def simulate(policy: Policy, workload: Workload, flash: int) -> Outcome:
    """Let ``policy`` see the workload, with ``flash`` bytes.

    Raises:
        OverFull: it kept more than that.
    """
    reads = hits = bytes_read = bytes_hit = moved = 0
    for number, access in enumerate(workload.accesses):
        hit = policy.access(access, number)
        if policy.used > flash:
            message = f"{type(policy).__name__} keeps {policy.used} bytes on {flash} of flash"
            raise OverFull(message)
        if access.write or number < workload.counted_from:
            continue
        reads, bytes_read = reads + 1, bytes_read + access.size
        if hit:
            hits, bytes_hit = hits + 1, bytes_hit + access.size
        elif policy.holds(access.ino):
            moved += access.size
    return Outcome(reads, hits, bytes_read, bytes_hit, moved)


def read_log(path: Path, head: int = WHOLE_FILE) -> Workload:
    """The uses in the log ``path``; ``head`` is in bytes. All of them are counted.

    They are sorted by time, since threads write a little out of order. A file has as many bytes as
    the log's last word on it, else as the largest of its lines, cut to ``head``: what it would
    take on flash.

    Raises:
        UsageError: a line is wrong, told as FILE:LINE:COLUMN; there is none; it cannot be read.
    """
    accesses, sizes = _collected(Recording(path))
    if not accesses:
        raise UsageError(f"{path} has no access; a line is: SECONDS INODE BYTES [w]")
    accesses.sort(key=lambda access: access.time)
    start = accesses[0].time
    known = sizes_of(accesses) | {ino: size for ino, size in sizes.items() if size}
    return Workload(
        path.name,
        [
            Access(time - start, ino, min(known[ino], head), write)
            for time, ino, _, write in accesses
        ],
    )


def _collected(recording: Recording) -> tuple[list[Access], dict[int, int]]:
    """The accesses as they stand, and the sizes that the log tells of files."""
    accesses, sizes = [], {}
    for line in recording:
        if recording.damaged:
            break
        if isinstance(line, Use):
            accesses.append(Access(line.time, line.ino, line.size, line.write))
        elif isinstance(line, FileFacts):
            sizes[line.ino] = line.size
    if recording.damaged:
        raise UsageError(str(recording.damaged[0]))
    return accesses, sizes
