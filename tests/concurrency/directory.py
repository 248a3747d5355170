"""The shared directory on a filesystem, as one process uses it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path as OsPath

from tests.concurrency.tree import FLEETING, FOLDERS, SIZED, SOURCES
from tests.model.driver import TIERFS, Path
from tests.model.native_driver import NativeDriver


class SharedDirectory(NativeDriver):
    """Calls of the operating system; `prepare` the directory before the first process starts."""

    def __init__(self, directory: OsPath) -> None:
        self.traits = TIERFS
        self._directory = directory
        self._handles: dict[int, int] = {}
        self._root = self._open_root()

    @staticmethod
    def prepare(directory: OsPath) -> None:
        """Make the directory and what is in it at first, with the modes that the model has."""
        directory.mkdir(mode=0o755)
        for folder in FOLDERS + FLEETING:
            (directory / folder).mkdir(mode=0o755)
        for name in SIZED + SOURCES:
            (directory / name).touch(mode=0o644)

    def holds(self, handle: int) -> bool:
        """Whether `handle` is open."""
        return handle in self._handles

    def make(self, path: Path) -> int:
        """open(O_CREAT | O_EXCL), fstat(2) and close."""
        with self._opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644) as descriptor:
            return os.fstat(descriptor).st_ino

    def look(self, path: Path) -> list[int]:
        """The type bits and the inode number of lstat(2)."""
        found = self.stat(path)
        return [stat.S_IFMT(found.mode), found.ino]

    def size(self, path: Path) -> int:
        """The size that stat(2) tells."""
        return self.stat(path).size

    def names(self, path: Path) -> list[str]:
        """The names in a directory, sorted; lstat(2) of each makes FUSE list attributes as well."""
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            found = os.listdir(descriptor)
            for name in found:
                with contextlib.suppress(OSError):
                    os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            return sorted(found)

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR); what `handle` was before is closed when it succeeds."""
        before = self._handles.get(handle)
        super().open(path, handle)
        if before is not None:
            os.close(before)

    def state(self, handle: int) -> list[int]:
        """Links and size."""
        found = self.fstat(handle)
        return [found.nlink, found.size]

    def link_open(self, handle: int, path: Path) -> None:
        """linkat(2) by way of /proc, which needs no privilege."""
        target = b"/".join(path)
        os.link(f"/proc/self/fd/{self._handles[handle]}", target, dst_dir_fd=self._root)

    def leave(self) -> None:
        """Close what is open; the directory stays."""
        for handle in list(self._handles):
            self.close(handle)
        os.close(self._root)
