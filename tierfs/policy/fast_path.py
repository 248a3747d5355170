"""The section ``fast_path`` of a volume file: requests answered without Python."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierfs.base.units import GIB, MIB
from tierfs.policy.fields import BadValue, Field, Record, Table
from tierfs.policy.problems import quote
from tierfs.policy.readers import Size, one_text
from tierfs.policy.values import Count, Flag, WordOr, written

if TYPE_CHECKING:
    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

AUTO = 0
"""As many threads as suit the machine."""

AUTO_LATENCY = -1
"""Cores are kept awake where that was seen to help."""

ANY_LATENCY = -2
"""Cores may sleep as they like."""

MOST_THREADS = 16
MOST_DISK_THREADS = 256
MOST_SPIN_US = 10_000
MOST_LATENCY_US = 1000
_MICROSECONDS = r"([0-9]{1,5})\s?us"


@dataclass(frozen=True, slots=True)
class Microseconds:
    """A short time such as ``200us``; 0 is allowed."""

    maximum: int

    def read(self, value: Value, _problems: Problems) -> int:
        """The microseconds."""
        text = one_text(value).strip()
        match = re.fullmatch(_MICROSECONDS, text)
        if match is None:
            hint = f'write "{text}us"' if text.isdecimal() and text.isascii() else None
            raise BadValue(f"must be a number of microseconds, not {quote(text)}", hint)
        if int(match[1]) > self.maximum:
            raise BadValue(f"must be 0us to {self.maximum}us, not {quote(text)}")
        return int(match[1])

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts."""
        return written(_MICROSECONDS)


ENABLED = Field("enabled", Flag(), "false", default=True)
MEMORY = Field("memory", Size(MIB, 1024 * GIB, 1), "512MiB", 128 * MIB)
THREADS: Field[int] = Field("threads", WordOr({"auto": AUTO}, Count(MOST_THREADS)), "2", AUTO)
SPIN = Field("spin", Microseconds(MOST_SPIN_US), "200us", 200)
DISK_THREADS = Field("disk_threads", Count(MOST_DISK_THREADS), "32", 32)
IO_URING = Field("io_uring", Flag(), "false", default=True)
PREFETCH_NAMES = Field("prefetch_names", Flag(), "false", default=True)
CPU_LATENCY: Field[int] = Field(
    "cpu_latency",
    WordOr({"auto": AUTO_LATENCY, "any": ANY_LATENCY}, Microseconds(MOST_LATENCY_US)),
    "0us",
    AUTO_LATENCY,
)
FAST_PATH = Table(
    '"fast_path"',
    (ENABLED, MEMORY, THREADS, SPIN, DISK_THREADS, IO_URING, PREFETCH_NAMES, CPU_LATENCY),
)


@dataclass(frozen=True, slots=True)
class FastPathSettings:
    """How requests are answered without Python; ``memory`` in bytes, ``spin_us`` a thread.

    ``cpu_latency_us`` may also be `AUTO_LATENCY` or `ANY_LATENCY`.
    """

    enabled: bool = True
    memory: int = 128 * MIB
    threads: int = AUTO
    spin_us: int = 200
    disk_threads: int = 32
    io_uring: bool = True
    prefetch_names: bool = True
    cpu_latency_us: int = AUTO_LATENCY

    @classmethod
    def of(cls, record: Record) -> FastPathSettings:
        """What a section says."""
        return cls(
            enabled=record[ENABLED],
            memory=record[MEMORY],
            threads=record[THREADS],
            spin_us=record[SPIN],
            disk_threads=record[DISK_THREADS],
            io_uring=record[IO_URING],
            prefetch_names=record[PREFETCH_NAMES],
            cpu_latency_us=record[CPU_LATENCY],
        )
