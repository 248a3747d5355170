"""The redo log: transactions that are answered, and that SQLite commits later, many at a time.

A COMMIT of SQLite writes every page that a transaction has touched to the write-ahead log: for one
name some five kilobytes in ten calls. So the statements of a small transaction are written here
first, by one call: after that a killed process loses nothing. SQLite keeps its own transaction
open, and commits it with the next hundred: that is a *group*. After an unclean end the statements
of the groups that are not in the tables are carried out again, on the state that SQLite committed
last, from which they lead to the same rows.

A power cut may take pages of this file, and of SQLite's log, that were not synced. So a record
stays until SQLite's commit of it is synced, for which there are two halves, and counts only if all
before it is there: the records of earlier groups, and what SQLite has committed without a record.
"""

from __future__ import annotations

import errno
import marshal
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from tierfs.common.beneath import NotAFile, make_private, open_file
from tierfs.common.osio import Os
from tierfs.common.ranges import fallocate

Statement = tuple[str, tuple[Any, ...]]
"""SQL, and its parameters."""

SUFFIX: Final = "-redo"
LARGEST: Final = 4 * 1024
"""Bytes of a record: a larger transaction is committed by SQLite at once."""

_CHECKSUM: Final = struct.Struct("=I")
"""Before a record: the CRC-32 of all that follows."""
_HEADER: Final = struct.Struct("=IqqqqI")
"""How many bytes of data follow, and the other fields of a `Record`."""
_pack_checksum, _pack_header = _CHECKSUM.pack, _HEADER.pack
_MARSHAL: Final = 4
"""The version of the format of `marshal`, which Python knows since 3.4."""
_HALVES: Final = 2
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_CANNOT_ALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


class Record(NamedTuple):
    """One transaction.

    Args:
        salt: of the mount.
        group: the commit of SQLite that it belongs to, as numbered from 1 in this mount.
        base: the last commit before it that had more than records.
        sequence: its number in this mount.
        number: its number in the group, from 0.
        data: the statements.
    """

    salt: int
    group: int
    base: int
    sequence: int
    number: int
    data: bytes

    @property
    def statements(self) -> list[Statement]:
        """What the transaction did."""
        found: list[Statement] = marshal.loads(self.data)  # noqa: S302 - whole, of a file of ours
        return found


def packed(salt: int, group: int, base: int, sequence: int, number: int, data: bytes) -> bytes:
    """A `Record` as it is in the file."""
    body = _pack_header(len(data), salt, group, base, sequence, number) + data
    return _pack_checksum(zlib.crc32(body)) + body


class RedoLog:
    """The writer's side; for the thread that holds the lock of the database, but for `synced`."""

    def __init__(self, path: Path, salt: int, half: int, os_: Os) -> None:
        """Make the redo log of the index at ``path``; ``half``: its bytes, and as many again.

        Raises:
            OSError: it cannot be made.
        """
        self._salt = salt
        self._size = half
        self._pwrite = os_.bound("index.redo", os.pwrite)
        self.committed = 0
        """The last group that SQLite has committed."""
        self.synced = 0
        """The last group whose commit is known to survive a power cut."""
        self._base = self._sequence = self._number = 0
        self._half = self._end = 0
        self._last = [0] * _HALVES
        """The last group of which each half has a record."""
        self._descriptor = _open(path.with_name(path.name + SUFFIX), _FLAGS | os.O_CREAT)
        try:
            make_private(self._descriptor)
            _allocate(self._descriptor, _HALVES * half)
        except BaseException:
            self.close()
            remove_redo(path)
            raise

    def append(self, statements: list[Statement]) -> bool:
        """Write the statements of a transaction; False: SQLite must commit it."""
        try:
            data = marshal.dumps(statements, _MARSHAL)
        except ValueError:  # a subclass of a type that it knows
            return False
        if not self._number:
            self._choose_half()
        group = self.committed + 1
        record = packed(self._salt, group, self._base, self._sequence, self._number, data)
        length = len(record)
        if length > LARGEST or self._end + length > self._size:
            return False
        try:
            written = self._pwrite(self._descriptor, record, self._half * self._size + self._end)
        except OSError:
            return False  # the next record is written over it
        if written < length:
            return False
        self._sequence += 1
        self._number += 1
        self._end += length
        self._last[self._half] = group
        return True

    def commits(self, *, whole: bool) -> None:
        """SQLite has committed the group; ``whole``: with more than the records."""
        self.committed += 1
        self._number = 0
        if whole:
            self._base = self.committed

    def skips(self) -> None:
        """The last commit has failed, and may be there after all: its number is not used again."""
        self.committed += 1

    def _choose_half(self) -> None:
        """Before the first record of a group: write over what is synced."""
        other = 1 - self._half
        if self._last[self._half] <= self.synced:
            self._end = 0
        elif self._end > self._size // 2 and self._last[other] <= self.synced:
            self._half, self._end = other, 0

    def close(self) -> None:
        """Close it; what it has stays for `unfinished`."""
        os.close(self._descriptor)


def remove_redo(path: Path) -> None:
    """Remove the redo log of the index at ``path``, all of which is in the tables."""
    with suppress(OSError):  # left behind, it is of another mount
        path.with_name(path.name + SUFFIX).unlink()


def _open(path: Path, flags: int) -> int:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_file(path.name, flags, dir_fd=directory)
    finally:
        os.close(directory)


def _allocate(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, 0)
    try:
        fallocate(descriptor, 0, 0, size)
    except OSError as exc:
        if exc.errno not in _CANNOT_ALLOCATE:
            raise
        os.ftruncate(descriptor, size)


def unfinished(path: Path, salt: int, groups: int) -> list[Record]:
    """The transactions in the redo log of the index at ``path`` that are not in its tables.

    In order; ``groups`` of the mount with this salt are in the tables.

    Raises:
        OSError: the log is there and cannot be read.
    """
    try:
        descriptor = _open(path.with_name(path.name + SUFFIX), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotAFile):
        return []
    with os.fdopen(descriptor, "rb") as file:
        content = file.read()
    half = len(content) // _HALVES
    halves = (content[:half], content[half:])
    records = [record for data in halves for record in _records(data, salt)]
    found: list[Record] = []
    for record in sorted(records, key=attrgetter("sequence")):
        if record.group <= groups:
            continue
        follows = (
            record.sequence == found[-1].sequence + 1
            if found
            else (record.group, record.number) == (groups + 1, 0)
        )
        if not follows or record.base > groups:
            break
        found.append(record)
    return found


def _records(half: bytes, salt: int) -> Iterator[Record]:
    """The records of a half, up to the first that does not follow the one before it."""
    at, last = 0, None
    while at + _CHECKSUM.size + _HEADER.size <= len(half):
        (checksum,) = _CHECKSUM.unpack_from(half, at)
        body = at + _CHECKSUM.size
        length, of, group, base, sequence, number = _HEADER.unpack_from(half, body)
        end = body + _HEADER.size + length
        if of != salt or end > len(half) or zlib.crc32(half[body:end]) != checksum:
            return
        if last is not None and sequence != last + 1:
            return
        yield Record(of, group, base, sequence, number, half[body + _HEADER.size : end])
        at, last = end, sequence
