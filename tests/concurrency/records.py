"""Records that tell whether one of them was lost, doubled or torn."""

from __future__ import annotations

import hashlib
import re

_HEADER = re.compile(rb"<(\d+) (\d+) (\d+) ([0-9a-f]{16})\n")


def record_of(writer: int, turn: int, length: int) -> bytes:
    """The `turn`-th record of a writer, with `length` bytes that belong to it alone."""
    body = (b"%d.%d " % (writer, turn)) * (length // 4 + 1)
    body = body[:length]
    check = hashlib.blake2b(b"%d %d " % (writer, turn) + body, digest_size=8).hexdigest()
    return b"<%d %d %d %s\n" % (writer, turn, length, check.encode()) + body


def turns_by_writer(data: bytes) -> dict[int, list[int]]:
    """Each writer's records, in the order of the file; AssertionError where one is torn."""
    found: dict[int, list[int]] = {}
    at = 0
    while at < len(data):
        header = _HEADER.match(data, at)
        assert header, f"no record begins at {at}: {data[at : at + 40]!r}"
        writer, turn, length = (int(header[field]) for field in (1, 2, 3))
        end = header.end() + length
        assert data[at:end] == record_of(writer, turn, length), f"torn record at {at}"
        found.setdefault(writer, []).append(turn)
        at = end
    return found
