"""A directory that answers as a tierfs mount does to whoever asks for virtual attributes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.tierfs_xattrs import (
    MIRRORED,
    PIN,
    PINNED_BY,
    PREFIX,
    REQUESTED,
    WAITS,
    parse_prefix,
    show_prefix,
)

HEAD = 64 * 1024
END = b"2030-03-17T23:46:40Z"
"""When every pin that ends ends."""


class FakeMount:
    """Keeps the attributes of the files below ``root``; ``move`` does what a mover would."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.prefixes: dict[bytes, int] = {}
        self.pins: dict[bytes, bytes] = {}
        self.requests: dict[bytes, int] = {}
        self.waits: dict[bytes, bytes] = {}
        """Why files are not where they belong."""
        self.broken: dict[bytes, int] = {}
        """Errors that setting an attribute of a file gives."""
        self.daemon_gone = False

    def of(self, path: bytes) -> dict[str, bytes]:
        """Every attribute of a file."""
        prefix = self.prefixes.get(path, HEAD)
        on_flash = min(prefix, os.lstat(path).st_size)
        known = {PREFIX: show_prefix(prefix), "tierfs.head": b"%d" % HEAD}
        known[MIRRORED] = b"no" if on_flash else b"yes"
        if path in self.pins:
            known[PIN] = b"1" if self.pins[path] == b"1" else END
        if (above := self.above(path)) is not None:
            directory = os.path.relpath(above, self.root)
            known[PINNED_BY] = self.pins[above] + b" /" + directory.removeprefix(b".")
        if path in self.requests:
            known[REQUESTED] = show_prefix(self.requests[path])
        if path in self.waits:
            known[WAITS] = self.waits[path]
        return known

    def above(self, path: bytes) -> bytes | None:
        """A directory above that is pinned."""
        return next((pinned for pinned in self.pins if path.startswith(pinned + b"/")), None)

    def move(self) -> None:
        """Do what is asked for."""
        self.prefixes.update(self.requests)
        self.requests.clear()
        self.prefixes.update(dict.fromkeys(self.pins, WHOLE_FILE))
        for root, _, names in os.walk(self.root):
            paths = (os.path.join(root, name) for name in names)
            self.prefixes.update((path, WHOLE_FILE) for path in paths if self.above(path))

    def give_up(self) -> None:
        """Do nothing, and remember nothing."""
        self.requests.clear()
        self.pins.clear()

    # ---------------------------------------------------------------- the system calls

    def getxattr(self, path: bytes | int, name: str, *, follow_symlinks: bool = True) -> bytes:
        """See getxattr(2)."""
        assert isinstance(path, bytes)
        assert not follow_symlinks or name == "tierfs.head"
        known = self.of(self._inside(path))
        if name not in known:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return known[name]

    def setxattr(
        self, path: bytes, name: str, value: bytes, *, follow_symlinks: bool = True
    ) -> None:
        """See setxattr(2)."""
        assert not follow_symlinks
        path = self._inside(path)
        if path in self.broken:
            raise OSError(self.broken[path], os.strerror(self.broken[path]))
        if name == PIN:
            self.pins[path] = value
            self.requests.pop(path, None)
        else:
            assert name == PREFIX
            self.requests[path] = parse_prefix(value)

    def removexattr(self, path: bytes, name: str, *, follow_symlinks: bool = True) -> None:
        """See removexattr(2)."""
        assert not follow_symlinks
        if self.pins.pop(self._inside(path), None) is None or name != PIN:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def _inside(self, path: bytes) -> bytes:
        os.lstat(path)
        code = errno.ENOTCONN if self.daemon_gone else 0
        if not path.startswith(self.root):
            code = errno.EOPNOTSUPP
        if code:
            raise OSError(code, os.strerror(code))
        return path


@contextmanager
def mounted_on(root: Path) -> Iterator[FakeMount]:
    """Let this process believe that ``root`` is a mount."""
    mount = FakeMount(root)
    calls = ("getxattr", "setxattr", "removexattr")
    with patch.multiple(os, **{name: getattr(mount, name) for name in calls}):
        yield mount
