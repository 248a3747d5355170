"""The ``tierfs.*`` attributes by which users see, pin and move files: their names and values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import KIB, SECOND, parse_duration, parse_size

PIN: Final = "tierfs.pin"
"""That a file stays on flash, and for how long; can be set and removed."""

PINNED_BY: Final = "tierfs.pinned-by"
"""The pin of the nearest directory above, and its path from the root of the mount."""

PREFIX: Final = "tierfs.prefix"
"""How many bytes of a file are on flash; setting it asks for a move."""

REQUESTED: Final = "tierfs.requested"
"""The prefix that a user asked for, until it is reached."""

MIRRORED: Final = "tierfs.mirrored"
"""Whether the disk holds every byte of a file."""

CHECKSUM: Final = "tierfs.checksum"
"""The checksum of a whole file, where one holds of it: its algorithm, a colon, and hexadecimals."""

ALGORITHM: Final = "xxh3-128"

ADOPTED: Final = "tierfs.adopted"
"""Whether the disk object is a file of another user, who may continue to use it."""

WAITS: Final = "tierfs.waits"
"""Why a file is not where it belongs: a reason, and ``stuck`` where waiting alone helps nothing."""

VIEW: Final = "user.tierfs.view"
"""On the directory of a view: what it is of."""

VIEW_CLASS: Final = "user.tierfs.view-class"
"""On a directory in a view: links in it do not count as the place of a file."""

STUCK: Final = "stuck"

FACT: Final = "tierfs.fact."
"""What the names of header facts begin with, such as ``tierfs.fact.image.width``."""

YES: Final = b"yes"
NO: Final = b"no"
FOR_EVER: Final = b"1"

STEP: Final = 4 * KIB
"""Bytes to whose multiple a prefix is rounded up, as a volume's ``head`` must be one."""

SHORTEST: Final = SECOND
"""Nanoseconds of the shortest pin."""

LONGEST: Final = 64
"""Bytes of the longest value that is looked at."""

_FOR_EVER = frozenset({"1", "true", "yes"})
_PREFIXES: Mapping[str, int] = {"all": WHOLE_FILE, "none": 0}


def parse_pin(value: bytes) -> int | None:
    """For how long a file is to be pinned, in nanoseconds; None: without end.

    Raises:
        ValueError: it says neither that nor a length of time of a second or more.
    """
    text = _text(value)
    if text.lower() in _FOR_EVER:
        return None
    length = parse_duration(text)
    if length < SHORTEST:
        message = f'"{text.strip()}" is too short; a pin holds for a second at least'
        raise ValueError(message)
    return length


def show_pin(until: int | None) -> bytes:
    """A pin as it is read: ``1``, or its end in UTC to the second, ``2030-01-31T18:00:00Z``.

    ``until`` in nanoseconds since the epoch; None: without end.
    """
    if until is None:
        return FOR_EVER
    end = datetime.fromtimestamp(until // SECOND, UTC)
    return f"{end:%Y-%m-%dT%H:%M:%SZ}".encode()


def parse_prefix(value: bytes) -> int:
    """The prefix in bytes: ``all`` is ``WHOLE_FILE``, ``none`` 0, a size is rounded up to ``STEP``.

    Raises:
        ValueError: it is none of these.
    """
    text = _text(value)
    if text.lower() in _PREFIXES:
        return _PREFIXES[text.lower()]
    return min(-(-parse_size(text) // STEP) * STEP, WHOLE_FILE)


def show_prefix(prefix: int) -> bytes:
    """A prefix as it is read: ``all``, or bytes."""
    return b"all" if prefix == WHOLE_FILE else b"%d" % prefix


def show_pinned_by(until: int | None, directory: str) -> bytes:
    """What a directory pins, as it is read: its pin as of `show_pin`, a blank and its path."""
    return show_pin(until) + b" " + os.fsencode(directory)


def parse_pinned_by(value: bytes) -> tuple[str, str]:
    """The pin, and the path of the directory that has it."""
    pin, _, directory = value.partition(b" ")
    return pin.decode("ascii", "replace"), os.fsdecode(directory)


def show_waits(reason: str, *, stuck: bool) -> bytes:
    """Why a file waits, as it is read: ``window``, ``room stuck``."""
    return f"{reason} {STUCK}".encode() if stuck else reason.encode()


def show_checksum(checksum: bytes) -> bytes:
    """A checksum as it is read: ``xxh3-128:99aa06d3014798d86001c324468d497f``."""
    return f"{ALGORITHM}:{checksum.hex()}".encode()


def show_fact(value: float | str) -> bytes:
    """A header fact as it is read: a number, or a text in UTF-8."""
    return str(value).encode("utf-8", "surrogatepass")


def parse_waits(value: bytes) -> tuple[str, bool]:
    """The reason, and whether the file is stuck."""
    reason, _, rest = value.decode("ascii", "replace").partition(" ")
    return reason, rest == STUCK


def _text(value: bytes) -> str:
    if len(value) > LONGEST:
        message = f"{len(value)} bytes are too long for a value"
        raise ValueError(message)
    return value.decode("ascii").strip()
