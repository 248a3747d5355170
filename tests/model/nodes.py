"""The inodes of the model: a directory, a regular file, a symlink, or a FIFO or socket."""

import stat
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.model.driver import FallocateMode, Stat
from tests.model.sparse import SparseBytes

Times: TypeAlias = frozenset[int | None]
"""The values that a time may have, in nanoseconds; None stands for "since the test began"."""

NOW: Times = frozenset({None})

# The clock of a kernel's time stamps lags the fine clock by a tick.
CLOCK_SLACK_NS = 50_000_000


@dataclass(eq=False, slots=True)
class Node:
    """What every inode has."""

    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    nlink: int = 1
    atime: Times = NOW
    mtime: Times = NOW
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size that stat tells; that of a directory means nothing and is 0 here."""
        return 0

    def differences(self, actual: Stat, began_ns: int) -> list[str]:
        """What is wrong with `actual`, for people; nothing when it is as it must be."""
        expected = {
            "mode": self.mode,
            "nlink": self.nlink,
            "uid": self.uid,
            "gid": self.gid,
            "size": actual.size if actual.is_directory else self.size,
        }
        wrong = [
            f"{name} is {getattr(actual, name)!r}, not {value!r}"
            for name, value in expected.items()
            if getattr(actual, name) != value
        ]
        return wrong + self._time_differences(actual, began_ns)

    def clear_set_id(self) -> None:
        """Take away set-user-ID, and set-group-ID from what the group may execute."""
        self.mode &= ~stat.S_ISUID
        if self.mode & stat.S_IXGRP:
            self.mode &= ~stat.S_ISGID

    def _time_differences(self, actual: Stat, began_ns: int) -> list[str]:
        wrong = []
        # Reading a symlink's target may change its access time, unlike that of the others here.
        if not stat.S_ISLNK(self.mode) and not _allowed(self.atime, actual.atime_ns, began_ns):
            wrong.append(f"atime_ns is {actual.atime_ns}, not one of {set(self.atime)}")
        if not _allowed(self.mtime, actual.mtime_ns, began_ns):
            wrong.append(f"mtime_ns is {actual.mtime_ns}, not one of {set(self.mtime)}")
        if not _allowed(NOW, actual.ctime_ns, began_ns):
            wrong.append(f"ctime_ns is {actual.ctime_ns}, before the test began at {began_ns}")
        return wrong


def _allowed(times: Times, actual_ns: int, began_ns: int) -> bool:
    return actual_ns in times or (None in times and actual_ns >= began_ns - CLOCK_SLACK_NS)


@dataclass(eq=False, slots=True)
class Directory(Node):
    """A directory; its `nlink` is 2 and one for each directory in it."""

    entries: dict[bytes, Node] = field(default_factory=dict)

    def put(self, name: bytes, node: Node) -> None:
        """Add or replace a name, which changes the directory's times."""
        self.take(name)
        self.entries[name] = node
        self.nlink += isinstance(node, Directory)
        self.mtime = NOW

    def take(self, name: bytes) -> Node | None:
        """Take a name away, if it is there, which changes the directory's times."""
        node = self.entries.pop(name, None)
        self.nlink -= isinstance(node, Directory)
        self.mtime = NOW
        return node


@dataclass(eq=False, slots=True)
class Regular(Node):
    """A regular file."""

    data: SparseBytes = field(default_factory=SparseBytes)

    @property
    def size(self) -> int:
        """The bytes of the file, holes included."""
        return self.data.size

    def write(self, offset: int, data: bytes) -> int:
        """Put `data` at `offset`; the modification time changes unless it is empty."""
        self.data.write(offset, data)
        if data:
            self.mtime = NOW
        return len(data)

    def fallocate(self, mode: FallocateMode, offset: int, length: int) -> None:
        """Grow, or make a hole; the modification time changes whatever happens."""
        end = offset + length
        if mode == FallocateMode.PUNCH_HOLE:
            self.data.write(offset, bytes(max(0, min(end, self.size) - offset)))
        elif mode == FallocateMode.ALLOCATE:
            self.data.truncate(max(self.size, end))
        self.mtime = NOW

    def truncate(self, size: int) -> None:
        """Cut or grow; filesystems differ in whether the same size again changes the times."""
        self.mtime = NOW if size != self.size else self.mtime | NOW
        self.data.truncate(size)


@dataclass(eq=False, slots=True)
class Symlink(Node):
    """A symbolic link."""

    target: bytes = b""

    @property
    def size(self) -> int:
        """The bytes of the target."""
        return len(self.target)


@dataclass(eq=False, slots=True)
class Special(Node):
    """A FIFO or a socket."""
