"""The heat table's snapshot in a file beside the index: written whole, or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tierfs.base.beneath import open_file, open_sized
from tierfs.base.osio import SYSTEM, Os
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_snapshot import BadSnapshot, load, most_bytes, save

log = logging.getLogger(__name__)

SUFFIX: Final = ".heat"
NEW: Final = ".new"
MODE: Final = 0o600


class HeatFile:
    """Beside the index; losing it costs only what was known of reads."""

    def __init__(self, index: Path, os_: Os = SYSTEM) -> None:
        self.path = index.with_name(index.name + SUFFIX)
        self._os = os_

    def load(self, heat: Heat) -> None:
        """Fill an empty table; one that is missing, damaged or cannot be read is left out."""
        try:
            load(heat, self._os.call("heat.read", self._read, most_bytes(heat)))
        except FileNotFoundError:
            return
        except (OSError, BadSnapshot) as exc:
            log.warning("%s: %s; what was read before is not known any longer", self.path, exc)

    def save(self, heat: Heat) -> bool:
        """Replace the file durably; False, with a warning, when that fails: the old one stays."""
        name = self.path.name
        new = f"{name}{NEW}"
        try:
            with self._directory() as directory:
                try:
                    self._write(new, save(heat), directory)
                    self._os.call(
                        "heat.rename",
                        os.rename,
                        new,
                        name,
                        src_dir_fd=directory,
                        dst_dir_fd=directory,
                    )
                    self._os.call("heat.sync_directory", os.fsync, directory)
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
            descriptor, length = open_sized(self.path.name, os.O_RDONLY, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as file:
            if length > most:
                message = f"a heat snapshot of {length} bytes is too large for this table"
                raise BadSnapshot(message)
            return file.read(most)

    def _write(self, name: str, data: bytes, directory: int) -> None:
        """Whatever has the name, left by a crash or put there, is removed first."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = self._os.call("heat.open", open_file, name, flags, MODE, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            self._os.call("heat.write", file.write, data)
            file.flush()
            self._os.call("heat.sync", os.fsync, descriptor)
