"""One policy on one workload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tierfs.tiering.simulator.access import Access, Workload


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
