"""Whether a file was changed, and is worth reading: told by looks at it, one after the other.

Looks, not inotify(7): that sees neither what another machine changes on a network filesystem nor
which of several symbolic links on the way was replaced, as Kubernetes does it for a ConfigMap.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias


class Stamp(NamedTuple):
    """What tells one state of a file from another; times in nanoseconds.

    The time of the last change of attributes is among them because a file may become readable, or
    be replaced by one with the same size and time.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int


Look: TypeAlias = Stamp | int
"""A file as it was found, or the errno with which it was not."""


def look_at(path: Path) -> Look:
    """The file that ``path`` leads to, symbolic links followed."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno or 0
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Watch:
    """Compares looks at one file with the state of it that was read last: ``taken``."""

    def __init__(self, taken: Look) -> None:
        self._taken = taken
        self._last = taken

    def is_due(self, look: Look) -> bool:
        """Whether the file is another than the one taken, and rested since the look before.

        An editor that truncates and writes, or removes and renames, is not to be caught halfway.
        """
        rested = look == self._last
        self._last = look
        return rested and look != self._taken

    def took(self, look: Look) -> None:
        """The file was read in this state, whatever came of it."""
        self._taken = self._last = look
