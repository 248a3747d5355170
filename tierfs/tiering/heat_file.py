"""The heat table's snapshot in a file beside the index: written whole, or not at all."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from tierfs.base.osio import SYSTEM, Os
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_snapshot import BadSnapshot, load, save

log = logging.getLogger(__name__)

SUFFIX: Final = ".heat"
MODE: Final = 0o600


class HeatFile:
    """Beside the index; losing it costs only what was known of reads."""

    def __init__(self, index: Path, os_: Os = SYSTEM) -> None:
        self.path = index.with_name(index.name + SUFFIX)
        self._os = os_

    def load(self, heat: Heat) -> None:
        """Fill an empty table; one that is missing, damaged or cannot be read is left out."""
        try:
            snapshot = self._os.call("heat.read", self.path.read_bytes)
            load(heat, snapshot)
        except FileNotFoundError:
            return
        except (OSError, BadSnapshot) as exc:
            log.warning("%s: %s; what was read before is not known any longer", self.path, exc)

    def save(self, heat: Heat) -> bool:
        """Replace the file durably; False, with a warning, when that fails: the old one stays."""
        new = self.path.with_name(self.path.name + ".new")
        try:
            self._write(new, save(heat))
            self._os.call("heat.rename", new.replace, self.path)
            self._sync_directory()
        except OSError as exc:
            log.warning("%s: cannot be written: %s", self.path, exc)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            return False
        return True

    def _write(self, path: Path, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = self._os.call("heat.open", os.open, path, flags, MODE)
        with os.fdopen(descriptor, "wb") as file:
            self._os.call("heat.write", file.write, data)
            file.flush()
            self._os.call("heat.sync", os.fsync, descriptor)

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._os.call("heat.sync_directory", os.fsync, descriptor)
        finally:
            os.close(descriptor)
