"""What is known of reads, kept over a restart: a snapshot of the heat table beside the index.

All numbers of a snapshot are little-endian: `MAGIC`, the version (u32), the CRC-32 of what follows
(u32); then, compressed by zlib: slots (u64), intervals seen (u64), their mean in seconds (f64),
since when reads were told in nanoseconds since the epoch (u64; 0: not known), and one column after
the other: inode (u64), last visit in seconds since the epoch (f64), decayed reads (f32) and bytes
(f32) at that time, mean interval in seconds (f32), intervals in that mean (u8).
"""

from __future__ import annotations

import logging
import struct
import sys
import zlib
from array import array
from pathlib import Path
from typing import Any, Final

from tierfs.common.osio import SYSTEM, Os
from tierfs.common.units import MIB
from tierfs.tiering.heat import EMPTY, SLOT_BYTES, Heat, Slots
from tierfs.tiering.snapshot_file import SnapshotFile, SnapshotTooLong

log = logging.getLogger(__name__)

SUFFIX: Final = ".heat"

MAGIC: Final = b"TFSHEAT\n"
VERSION: Final = 1

_HEAD: Final = struct.Struct("<8sII")
_TABLE: Final = struct.Struct("<QQdQ")
_FASTEST: Final = 1
_MOST: Final = 256 * MIB


class BadSnapshot(ValueError):
    """It is of another version, cut off or damaged; begin with an empty table."""


class HeatFile:
    """Losing it costs only what was known of reads."""

    def __init__(self, index: Path, os_: Os = SYSTEM) -> None:
        self._file = SnapshotFile(index, SUFFIX, "heat", os_)

    def load(self, heat: Heat) -> None:
        """Fill an empty table; one that is missing, damaged or cannot be read is left out."""
        try:
            unpack_heat(heat, self._file.read(most_bytes(heat)))
        except FileNotFoundError:
            return
        except (OSError, BadSnapshot, SnapshotTooLong) as exc:
            log.warning(
                "%s: %s; what was read before is not known any longer", self._file.path, exc
            )

    def save(self, heat: Heat) -> bool:
        """Replace the file durably; False, with a warning, when that fails: the old one stays."""
        return self._file.replace(pack_heat(heat))


def most_bytes(heat: Heat) -> int:
    """Bytes of the largest snapshot that is read into the table, and of what is packed in it.

    Of one that is much larger than the table itself, nearly all would be left out anyway.
    """
    return max(_MOST, 2 * SLOT_BYTES * len(heat.slots))


def pack_heat(heat: Heat) -> bytes:
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


def unpack_heat(heat: Heat, snapshot: bytes) -> None:
    """Fill an empty table from a snapshot, also from one of another capacity.

    Where there are more files than room in a bucket, those visited last are kept.

    Raises:
        BadSnapshot: it cannot be used; the table is as it was.
    """
    stored, since = _stored(_table_in(snapshot, most_bytes(heat)))
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


def _table_in(snapshot: bytes, most: int) -> bytes:
    """What is packed in a snapshot, after all that can be checked without knowing the table."""
    if len(snapshot) < _HEAD.size:
        raise BadSnapshot(f"a heat snapshot of {len(snapshot)} bytes is cut off")
    magic, version, check = _HEAD.unpack_from(snapshot)
    if magic != MAGIC:
        raise BadSnapshot("this is not a heat snapshot")
    if version != VERSION:
        raise BadSnapshot(
            f"a heat snapshot of version {version}; this program reads version {VERSION}"
        )
    body = snapshot[_HEAD.size :]
    if zlib.crc32(body) != check:
        raise BadSnapshot("a heat snapshot is cut off or damaged: its checksum is wrong")
    unpacker = zlib.decompressobj()
    try:
        table = unpacker.decompress(body, most)
    except zlib.error as error:
        raise BadSnapshot(f"a heat snapshot cannot be unpacked: {error}") from None
    if not unpacker.eof:
        raise BadSnapshot(
            f"a heat snapshot cannot be unpacked: it is cut off, or holds more than {most} bytes"
        )
    return table


def _stored(table: bytes) -> tuple[Slots, int]:
    """The slots, and since when reads were told."""
    if len(table) < _TABLE.size:
        raise BadSnapshot("a heat snapshot has no table")
    count, seen, typical, since = _TABLE.unpack_from(table)
    if not count or len(table) != _TABLE.size + SLOT_BYTES * count:
        raise BadSnapshot(f"a heat snapshot says {count} slots, but is {len(table)} bytes long")
    slots = Slots(count)
    slots.seen, slots.typical = seen, typical
    at = _TABLE.size
    for column in slots.columns:
        size = column.itemsize * len(slots)
        column[:] = _little_endian(array(column.typecode, table[at : at + size]))
        at += size
    return slots, since


def _little_endian(column: array[Any]) -> array[Any]:
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped
