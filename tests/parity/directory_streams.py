"""Reading directories entry by entry: getdents64, and the streams of the C library."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from tests.parity.harness import Place

SYS_GETDENTS64 = 217 if os.uname().machine == "x86_64" else 61

TYPES = {
    stat.S_IFREG >> 12: "file",
    stat.S_IFDIR >> 12: "directory",
    stat.S_IFLNK >> 12: "symlink",
    stat.S_IFIFO >> 12: "fifo",
    stat.S_IFSOCK >> 12: "socket",
    stat.S_IFCHR >> 12: "char",
}


class Record:
    """One entry as getdents64 gives it."""

    def __init__(self, data: bytes, start: int) -> None:
        self.ino, self.position, self.length, kind = struct.unpack_from("<QqHB", data, start)
        self.kind = TYPES.get(kind, f"type {kind}")
        self.name = (
            data[start + 19 : start + self.length].split(b"\0")[0].decode("utf-8", "replace")
        )


def getdents(place: Place, fd: int, size: int = 32768) -> list[Record]:
    """The entries that one call gives; none at the end."""
    buffer = ctypes.create_string_buffer(size)
    count = place.libc.long("syscall", ctypes.c_long(SYS_GETDENTS64), fd, buffer, size)
    records, start = [], 0
    while start < count:
        records.append(Record(buffer.raw, start))
        start += records[-1].length
    return records


def rest(place: Place, fd: int, size: int = 32768) -> list[Record]:
    """All entries from where the descriptor is."""
    records: list[Record] = []
    while more := getdents(place, fd, size):
        records += more
    return records


class Stream:
    """A DIR of the C library."""

    def __init__(self, place: Place) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        opendir = self._libc["opendir"]
        opendir.restype = ctypes.c_void_p
        self._dir = ctypes.c_void_p(opendir(os.fsencode(place.path)))

    def read(self) -> str | None:
        """The next entry's name."""
        readdir = self._libc["readdir"]
        readdir.restype = ctypes.c_void_p
        entry = readdir(self._dir)
        return ctypes.string_at(entry + 19).decode() if entry else None

    def tell(self) -> int:
        """The position behind what was read last."""
        telldir = self._libc["telldir"]
        telldir.restype = ctypes.c_long
        return int(telldir(self._dir))

    def seek(self, position: int) -> None:
        """Go to a position that `tell` gave."""
        self._libc["seekdir"](self._dir, ctypes.c_long(position))

    def rewind(self) -> None:
        """Begin again."""
        self._libc["rewinddir"](self._dir)

    def close(self) -> None:
        """Give the descriptor back."""
        self._libc["closedir"](self._dir)
