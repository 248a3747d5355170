"""The shared directory: in the model, and on a filesystem where several processes use it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path as OsPath

from tests.model.driver import TIERFS, Path, os_error
from tests.model.native_driver import NativeDriver
from tests.model.nodes import Directory, Regular, Symlink
from tests.model.posix_model import PosixModel

FOLDERS = ("A", "B")
"""Directories that are made once and stay: only the names in them change."""


class Numbers:
    """What itertools.count does, but it can be copied."""

    def __init__(self, first: int) -> None:
        self._next = first

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> int:
        self._next += 1
        return self._next - 1


class SharedModel(PosixModel):
    """The model with the calls that only the shared directory needs."""

    def __init__(self) -> None:
        super().__init__()
        for folder in FOLDERS:
            self.mkdir((folder.encode(),), 0o755)

    def kind(self, path: Path) -> int:
        """The type bits of lstat(2)."""
        return stat.S_IFMT(self.node(path).mode)

    def state(self, handle: int) -> tuple[int, int]:
        """Links and size."""
        node = self.handles[handle]
        return node.nlink, node.size

    def link_open(self, handle: int, path: Path) -> None:
        """A file without a name gets none again, but the new name is looked at first."""
        node = self.handles[handle]
        parent, name = self._vacancy(path)
        if node.nlink == 0:
            raise os_error(errno.ENOENT)
        parent.put(name, node)
        node.nlink += 1

    def fingerprint(self) -> object:
        """Equal for two models that nobody can tell apart."""
        seen: dict[int, int] = {}
        shape = []
        found = [(path, self.node(path)) for path in self.paths()]
        for place, node in [*found, *sorted(self.handles.items(), key=lambda pair: pair[0])]:
            number = seen.setdefault(node.ino, len(seen))
            shape.append((place, number, node.mode, node.nlink, node.size, _content(node)))
        return tuple(shape)


class SharedDriver(NativeDriver):
    """The same directory for every process; `make` it before the first of them starts."""

    def __init__(self, directory: OsPath) -> None:
        self.traits = TIERFS
        self._directory = directory
        self._handles: dict[int, int] = {}
        self._root = self._open_root()

    @staticmethod
    def make(directory: OsPath) -> None:
        """Make the directory and what stays in it."""
        directory.mkdir(mode=0o755)
        for folder in FOLDERS:
            (directory / folder).mkdir(mode=0o755)

    def kind(self, path: Path) -> int:
        """The type bits of lstat(2)."""
        return stat.S_IFMT(self.stat(path).mode)

    def state(self, handle: int) -> tuple[int, int]:
        """Links and size."""
        found = self.fstat(handle)
        return found.nlink, found.size

    def link_open(self, handle: int, path: Path) -> None:
        """linkat(2) by way of /proc, which needs no privilege."""
        target = b"/".join(path)
        os.link(f"/proc/self/fd/{self._handles[handle]}", target, dst_dir_fd=self._root)

    def leave(self) -> None:
        """Close what is open; the directory stays."""
        for handle in list(self._handles):
            self.close(handle)
        os.close(self._root)


def _content(node: object) -> object:
    if isinstance(node, Regular):
        return tuple(node.data.read(*window) for window in node.data.windows())
    if isinstance(node, Symlink):
        return node.target
    assert isinstance(node, Directory)
    return None
