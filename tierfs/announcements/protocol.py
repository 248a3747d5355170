"""What a job says of the files that it reads next, one JSON object a line; the limits on it.

docs/reference/announcements.md describes both directions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from tierfs.common.errors import TierfsError

VERSION: Final = 1

LONGEST_LINE: Final = 128 * 1024
"""Bytes of a message."""

AHEAD: Final = 4096
"""Files that may be announced before they are reached."""

CHARACTERS: Final = 512 * 1024
"""Of all their paths. What a job had begun to say before it knew may go `SLACK` beyond."""

SLACK: Final = 512 * 1024

LONGEST_PATH: Final = 4096
LONGEST_NAME: Final = 128
"""Characters of the name of a job."""

LONGEST_EXTENSION: Final = 16
"""Characters of the extension of a file, with its dot."""

LONGEST_WAIT_S: Final = 1e9


class ProtocolError(TierfsError):
    """A job said what makes no sense or is too much; its connection ends."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first message, which comes with a descriptor of the mount's topmost directory."""

    job: str
    rank: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What is said in the place of a greeting: how far files were read first; nothing follows."""

    first_reads: tuple[tuple[str, int, int], ...]
    """The extension with its dot, the size in bytes, and how far it was read, of each file."""


@dataclass(frozen=True, slots=True)
class Said:
    """Any other message."""

    paths: tuple[str | None, ...]
    """Below that directory; None: nothing is to be read for this number."""
    position: int | None
    """The number of files that were reached, of all that were announced."""
    waited_s: float | None
    """How long the job has waited for its files so far."""
    last: bool
    """Nothing else is announced."""


def parse_greeting(line: bytes) -> Greeting | Measured:
    """Parse the first line.

    Raises:
        ProtocolError: it is none, or for another version.
    """
    said = _object(line)
    version, job, rank = said.get("tierfs"), said.get("job", ""), said.get("rank", 0)
    if version != VERSION:
        raise ProtocolError(f"this daemon speaks version {VERSION}")
    if "first_reads" in said:
        return _measured(said["first_reads"])
    if not isinstance(job, str) or len(job) > LONGEST_NAME or not _is_count(rank):
        raise ProtocolError("a job is a short text, a rank a number from 0")
    return Greeting(job, rank)


def _measured(rows: object) -> Measured:
    """Raises ProtocolError."""
    if not isinstance(rows, list) or not all(map(_is_first_read, rows)):
        raise ProtocolError("first_reads are a list of extension, size and reach, in bytes")
    return Measured(tuple((extension, size, reach) for extension, size, reach in rows))


def parse(line: bytes) -> Said:
    """Parse another line.

    Raises:
        ProtocolError: it is no such message.
    """
    said = _object(line)
    paths, position, waited = said.get("paths", []), said.get("position"), said.get("waited")
    if not isinstance(paths, list) or not all(map(_is_path, paths)):
        raise ProtocolError("paths are a list of relative paths")
    if position is not None and not _is_count(position):
        raise ProtocolError("a position is a number from 0")
    if waited is not None and not _is_seconds(waited):
        raise ProtocolError("waited is a number of seconds")
    return Said(tuple(paths), position, waited, said.get("last") is True)


def require_short(begun: bytes) -> None:
    """Check a line that has not ended.

    Raises:
        ProtocolError: it is too long already.
    """
    if len(begun) > LONGEST_LINE:
        raise ProtocolError(f"a line has {LONGEST_LINE:,} bytes at most")


def _object(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ProtocolError("a message is one JSON object a line")
    return said


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_first_read(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 3:  # noqa: PLR2004 - as its message says
        return False
    extension, size, reach = row
    short = isinstance(extension, str) and len(extension) <= LONGEST_EXTENSION
    return short and _is_count(size) and _is_count(reach)


def _is_seconds(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return 0 <= value <= LONGEST_WAIT_S


def _is_path(path: object) -> bool:
    if path is None:
        return True
    if not isinstance(path, str) or not 0 < len(path) <= LONGEST_PATH or "\0" in path:
        return False
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
