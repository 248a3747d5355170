"""The heat table as bytes, to be kept over a restart.

All numbers are little-endian: `MAGIC`, the version (u32), the CRC-32 of what follows (u32); then,
compressed by zlib: slots (u64), intervals seen (u64), their mean in seconds (f64), since when reads
were told in nanoseconds since the epoch (u64; 0: not known), and one column after the other: inode
(u64), last visit in seconds since the epoch (f64), decayed reads (f32) and bytes (f32) at that
time, mean interval in seconds (f32), intervals in that mean (u8).
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from typing import Any, Final

from tierfs.base.units import MIB
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_slots import EMPTY, SLOT_BYTES, Slots

MAGIC: Final = b"TFSHEAT\n"
VERSION: Final = 1

_HEAD: Final = struct.Struct("<8sII")
_TABLE: Final = struct.Struct("<QQdQ")
_FASTEST: Final = 1
_MOST: Final = 256 * MIB


class BadSnapshot(ValueError):
    """It is of another version, cut off or damaged; begin with an empty table."""


def most_bytes(heat: Heat) -> int:
    """Bytes of the largest snapshot that is read into the table, and of what is packed in it.

    Of one that is much larger than the table itself, nearly all would be left out anyway.
    """
    return max(_MOST, 2 * SLOT_BYTES * len(heat.slots))


def save(heat: Heat) -> bytes:
    """A snapshot of the table."""
    slots = heat.slots
    packer = zlib.compressobj(_FASTEST)
    parts = [
        packer.compress(_TABLE.pack(len(slots), slots.seen, slots.typical, heat.since or 0)),
        *(packer.compress(_little_endian(column)) for column in slots.columns),
        packer.flush(),
    ]
    body = b"".join(parts)
    return _HEAD.pack(MAGIC, VERSION, zlib.crc32(body)) + body


def load(heat: Heat, snapshot: bytes) -> None:
    """Fill an empty table from a snapshot, also from one of another capacity.

    Where there are more files than room in a bucket, those visited last are kept.

    Raises:
        BadSnapshot: it cannot be used; the table is as it was.
    """
    stored, since = _stored(_body(snapshot, most_bytes(heat)))
    heat.slots.seen, heat.slots.typical = stored.seen, stored.typical
    heat.since = since or None
    if len(stored) == len(heat.slots):
        heat.slots.take_over(stored)
        return
    by_age = sorted(filter(stored.ino.__getitem__, range(len(stored))), key=stored.last.__getitem__)
    for its in reversed(by_age):
        slot = heat.slots.free(stored.ino[its])
        if slot != EMPTY:
            heat.slots.copy(slot, stored, its)


def _little_endian(column: array[Any]) -> array[Any]:
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped


def _body(snapshot: bytes, most: int) -> bytes:
    if len(snapshot) < _HEAD.size:
        message = f"a heat snapshot of {len(snapshot)} bytes is cut off"
        raise BadSnapshot(message)
    magic, version, check = _HEAD.unpack_from(snapshot)
    if magic != MAGIC:
        message = "this is not a heat snapshot"
        raise BadSnapshot(message)
    if version != VERSION:
        message = f"a heat snapshot of version {version}; this program reads version {VERSION}"
        raise BadSnapshot(message)
    body = snapshot[_HEAD.size :]
    if zlib.crc32(body) != check:
        message = "a heat snapshot is cut off or damaged: its checksum is wrong"
        raise BadSnapshot(message)
    return _unpacked(body, most)


def _unpacked(body: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        table = unpacker.decompress(body, most)
    except zlib.error as error:
        message = f"a heat snapshot cannot be unpacked: {error}"
        raise BadSnapshot(message) from None
    if not unpacker.eof:
        message = (
            f"a heat snapshot cannot be unpacked: it is cut off, or holds more than {most} bytes"
        )
        raise BadSnapshot(message)
    return table


def _stored(table: bytes) -> tuple[Slots, int]:
    if len(table) < _TABLE.size:
        message = "a heat snapshot has no table"
        raise BadSnapshot(message)
    count, seen, typical, since = _TABLE.unpack_from(table)
    if not count or len(table) != _TABLE.size + SLOT_BYTES * count:
        message = f"a heat snapshot says {count} slots, but is {len(table)} bytes long"
        raise BadSnapshot(message)
    slots = Slots(count)
    slots.seen, slots.typical = seen, typical
    at = _TABLE.size
    for column in slots.columns:
        size = column.itemsize * len(slots)
        column[:] = _little_endian(array(column.typecode, table[at : at + size]))
        at += size
    return slots, since
