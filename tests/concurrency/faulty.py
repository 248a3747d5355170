"""Filesystems with a fault that shows only when two certain calls overlap, to prove the checks.

Each stands on a real directory and breaks one call in two parts; between them it holds, for as
long as whoever conducts the run wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path as OsPath

from tests.concurrency.directory import SharedDirectory
from tests.model.driver import Path, RenameFlags


class Faulty(SharedDirectory):
    """A directory whose calls can be held in the middle."""

    def __init__(self, directory: OsPath, hold: Callable[[], None]) -> None:
        super().__init__(directory)
        self._hold = hold
        self._kept: dict[Path, list[str]] = {}


class LostAppend(Faulty):
    """append(2) looks at the size first and then writes there, so that one of two is lost."""

    def append(self, path: Path, data: bytes) -> int:
        """Write at the end that was."""
        end = self.size(path)
        self._hold()
        return super().write(path, end, data)


class TwoWinners(Faulty):
    """O_EXCL looks whether there is a file and makes it then, so that two may have made it."""

    def make(self, path: Path) -> int:
        """Make it if there was none."""
        if self._is_there(path):
            return super().make(path)
        self._hold()
        with self._opened(path, os.O_WRONLY | os.O_CREAT, 0o644) as descriptor:
            return os.fstat(descriptor).st_ino

    def _is_there(self, path: Path) -> bool:
        try:
            self.look(path)
        except FileNotFoundError:
            return False
        return True


class StaleListing(Faulty):
    """A listing that met a change is kept, and answers the next one as well."""

    def names(self, path: Path) -> list[str]:
        """List it, or tell what was kept."""
        if path in self._kept:
            return self._kept.pop(path)
        found = super().names(path)
        self._hold()
        if super().names(path) != found:
            self._kept[path] = found
        return found


class RenameInTwoSteps(Faulty):
    """A renamed file has neither name for a while."""

    def rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """By way of a name that nobody knows."""
        if flags or source == target or len(source) != 1:
            super().rename(source, target, flags)
            return
        hidden = (*source[:-1], b"." + source[-1])
        super().rename(source, hidden, RenameFlags.PLAIN)
        self._hold()
        super().rename(hidden, target, RenameFlags.PLAIN)


class StaleSize(Faulty):
    """A size that was read while somebody changed it is told once more, much later."""

    def size(self, path: Path) -> int:
        """The size, or what was kept of it."""
        if path in self._kept:
            return int(self._kept.pop(path)[0])
        found = super().size(path)
        self._hold()
        if super().size(path) != found:
            self._kept[path] = [str(found)]
        return found


class ForgottenLink(Faulty):
    """Of two links made to one file at the same time, the count of links tells one."""

    def link_open(self, handle: int, path: Path) -> None:
        """Make a copy instead when the count has changed meanwhile."""
        before = self.state(handle)
        self._hold()
        if self.state(handle) == before:
            super().link_open(handle, path)
        else:
            super().make(path)


FAULTS: Mapping[str, Callable[[OsPath, Callable[[], None]], Faulty]] = {
    "lost-append": LostAppend,
    "two-winners": TwoWinners,
    "stale-listing": StaleListing,
    "rename-in-two-steps": RenameInTwoSteps,
    "stale-size": StaleSize,
    "forgotten-link": ForgottenLink,
}
