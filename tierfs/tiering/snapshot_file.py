"""A small file beside the index that is kept over a restart, written whole or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tierfs.common.beneath import open_file, open_sized
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.sync import sync_file

log = logging.getLogger(__name__)

NEW: Final = ".new"
MODE: Final = 0o600


class SnapshotTooLong(ValueError):
    """There are more bytes than asked for."""


class SnapshotFile:
    """``SUFFIX`` behind the name of the index; ``label`` begins the labels of its calls."""

    def __init__(self, index: Path, suffix: str, label: str, os_: Os = SYSTEM) -> None:
        self.path = index.with_name(index.name + suffix)
        self._label = label
        self._os = os_

    def read(self, most: int) -> bytes:
        """What it holds, ``most`` bytes.

        Raises:
            OSError: it cannot be read; FileNotFoundError: there is none.
            SnapshotTooLong: it is longer.
        """
        return self._os.call(f"{self._label}.read", self._read, most)

    def replace(self, data: bytes) -> bool:
        """Replace it durably; False, with a warning, when that fails: the old one stays."""
        name, label = self.path.name, self._label
        new = f"{name}{NEW}"
        try:
            with self._directory() as directory:
                try:
                    self._write(new, data, directory)
                    self._os.call(
                        f"{label}.rename",
                        os.rename,
                        new,
                        name,
                        src_dir_fd=directory,
                        dst_dir_fd=directory,
                    )
                    self._os.call(f"{label}.sync_directory", sync_file, directory)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.unlink(new, dir_fd=directory)
                    raise
        except OSError as exc:
            log.warning("%s: cannot be written: %s", self.path, exc)
            return False
        return True

    @contextlib.contextmanager
    def _directory(self) -> Iterator[int]:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, most: int) -> bytes:
        with self._directory() as directory:
            descriptor, length, _ = open_sized(self.path.name, os.O_RDONLY, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            if length > most:
                raise SnapshotTooLong(f"{length} bytes are more than {most}")
            return file.read(most)

    def _write(self, name: str, data: bytes, directory: int) -> None:
        """Whatever has the name, left by a crash or put there, is removed first."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        label = self._label
        descriptor = self._os.call(f"{label}.open", open_file, name, flags, MODE, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            self._os.call(f"{label}.write", file.write, data)
            file.flush()
            self._os.call(f"{label}.sync", sync_file, descriptor)
