"""The section ``access_log`` of a volume file: what was read and written, for what-if questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tierfs.base.units import GIB, MIB
from tierfs.policy.fields import Field, Record, Table
from tierfs.policy.readers import LocalPath, Size

FILE: Field[Path] = Field("file", LocalPath(), "/var/log/tierfs/images.access")
SIZE = Field("size", Size(MIB, 1024 * GIB, 1), "64MiB", 64 * MIB)
ACCESS_LOG = Table('"access_log"', (FILE, SIZE))


@dataclass(frozen=True, slots=True)
class AccessLogSettings:
    """Accesses are recorded to ``file``, and the last ``size`` bytes of them kept at most."""

    file: Path
    size: int

    @classmethod
    def of(cls, record: Record, home: Path) -> AccessLogSettings:
        """What a section says; relative paths start from ``home``."""
        return cls(home / record[FILE], record[SIZE])
