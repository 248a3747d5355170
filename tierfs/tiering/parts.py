"""A file of lines that never takes more than so many bytes: two parts, of which the older one goes.

Lines are added to ``NAME``; when half of the size is reached, it becomes ``NAME.1``, in the place
of the one before. So between a half and all of the size is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tierfs.base.beneath import make_private, open_file
from tierfs.base.osio import SYSTEM, Os

MODE: Final = 0o600
"""Names of files are nobody else's business."""

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND


def older(path: Path) -> Path:
    """The part with what is older."""
    return path.with_name(f"{path.name}.1")


class Parts:
    """``size`` bytes of lines at ``path``, which is made with its directories, or continued.

    Every part begins with the line ``beginning``. The directory is held open, so that mounting
    over it changes nothing. Not thread-safe.

    Raises:
        OSError: from every method, when the filesystem says so.
    """

    def __init__(self, path: Path, size: int, beginning: bytes, os_: Os = SYSTEM) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._name, self._older = path.name, older(path).name
        self._most = size // 2
        self._beginning = beginning
        self._os = os_
        self._directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = -1
        try:
            self._remove_too_long()
            self._open()
        except BaseException:
            self.close()
            raise

    def fits(self, lines: bytes) -> bool:
        """Whether the present part has room for ``lines``."""
        return self._used + len(lines) <= self._most

    def add(self, lines: bytes) -> None:
        """Append whole lines; of more than the part has room for only the first that fit."""
        if not self.fits(lines):
            lines = lines[: lines.rfind(b"\n", 0, max(0, self._most - self._used)) + 1]
        while lines:
            written = self._os.call("access_log.write", os.write, self._file, lines)
            self._used += written
            lines = lines[written:]

    def turn(self) -> None:
        """Begin the next part; the one before the present one is lost."""
        os.close(self._file)
        self._file = -1
        self._os.call("access_log.rename", self._rename)
        self._open()

    def close(self) -> None:
        """Close; closing twice is fine."""
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._directory = -1

    def _open(self) -> None:
        self._file = self._os.call(
            "access_log.open", open_file, self._name, _FLAGS, MODE, dir_fd=self._directory
        )
        make_private(self._file)
        self._used = os.fstat(self._file).st_size
        torn = self._used and os.pread(self._file, 1, self._used - 1) != b"\n"
        start = (b"\n" if torn else b"") + self._beginning
        if not self.fits(start):
            self.turn()
        else:
            self.add(start)

    def _rename(self) -> None:
        directory = self._directory
        os.rename(self._name, self._older, src_dir_fd=directory, dst_dir_fd=directory)

    def _remove_too_long(self) -> None:
        """Parts from a time when more was allowed would break the bound."""
        for name in (self._name, self._older):
            try:
                found = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
                if found.st_size > self._most:
                    os.unlink(name, dir_fd=self._directory)
            except FileNotFoundError:
                continue
