"""How many images fit where they shall lie, and where that is when nobody says."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tierfs.base.errors import TierfsError
from tierfs.base.units import MIB, format_size

COPIES = 3
"""Images as source, images in the volume, and heads that a later mirror may write again."""

RESERVE = 96 * MIB
"""Bytes for the index, its log and the directories."""

USABLE = 0.9
"""How much of the free space is taken at most."""

SMALLEST_RUN = 16 * MIB
FEWEST_FILES = 20
USUAL_PLACES = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - only parents for mkdtemp


@dataclass(frozen=True, slots=True)
class Images:
    """How many images to generate, and how many bytes they have together."""

    files: int
    bytes: int


def usual_place() -> Path:
    """Where temporary files go: as TMPDIR says, or where there is more room."""
    if "TMPDIR" in os.environ:
        return Path(tempfile.gettempdir())
    writable = [place for place in USUAL_PLACES if os.access(place, os.W_OK | os.X_OK)]
    return max(writable, key=free_bytes, default=Path(tempfile.gettempdir()))


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write there. Raises OSError when it does not exist."""
    return shutil.disk_usage(directory).free


def fit(wanted: Images, others: int, places: Iterable[Path]) -> Images:
    """As many of the ``wanted`` images as fit in ``places``, next to ``others`` bytes of files.

    Raises TierfsError when there is too little room for anything worth showing.
    """
    tightest = min(places, key=free_bytes)
    room = int(free_bytes(tightest) * USABLE - RESERVE - others) // COPIES
    if room < min(SMALLEST_RUN, wanted.bytes):
        need = format_size(min(SMALLEST_RUN, wanted.bytes) * COPIES + RESERVE + others)
        raise TierfsError(f"{tightest} has too little room: about {need} is needed; choose --dir")
    if room >= wanted.bytes:
        return wanted
    files = max(FEWEST_FILES, wanted.files * room // wanted.bytes)
    return Images(min(files, wanted.files), room)
