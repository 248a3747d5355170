"""What a policy decides by: one file's facts, the costly ones asked for at most once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(slots=True)
class Facts:
    """A regular file as it is at the time ``now``; times and lengths of time in nanoseconds.

    Args:
        now: the time, since the epoch.
        size: in bytes.
        modified: when its bytes were last changed, since the epoch.
        last_read: when it was last read, since the epoch; None when that is not known.
        uid: the number of its owner.
        gid: the number of its group.
        find_paths: its names, each from the root of the filesystem and beginning with a slash;
            several for a file with hard links, none for one that is unlinked.
        find_xattr: an extended attribute's value by its full name, None when it has none.
        count_reads: how often it was read within so long before now; None when not known.
    """

    now: int
    size: int
    modified: int
    last_read: int | None
    uid: int
    gid: int
    find_paths: Callable[[], Sequence[bytes]]
    find_xattr: Callable[[bytes], bytes | None]
    count_reads: Callable[[int], int | None]
    _paths: list[str] | None = field(default=None, init=False)
    _xattrs: dict[str, str | None] = field(default_factory=dict, init=False)

    @property
    def age(self) -> int:
        """How long ago its bytes were changed; 0 for a time in the future."""
        return max(0, self.now - self.modified)

    @property
    def idle(self) -> int | None:
        """How long it has not been read; None when that is not known."""
        return None if self.last_read is None else max(0, self.now - self.last_read)

    @property
    def paths(self) -> list[str]:
        """Its names; bytes that are not UTF-8 as surrogates, as `os.fsdecode` makes them."""
        if self._paths is None:
            self._paths = [os.fsdecode(path) for path in self.find_paths()]
        return self._paths

    def xattr(self, name: str) -> str | None:
        """The value of an extended attribute, decoded likewise."""
        if name not in self._xattrs:
            value = self.find_xattr(name.encode())
            self._xattrs[name] = None if value is None else os.fsdecode(value)
        return self._xattrs[name]

    def reads(self, within: int) -> int | None:
        """How often it was read in the last ``within`` nanoseconds; None when not known."""
        return self.count_reads(within)
