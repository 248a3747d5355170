"""Which of a volume's directories cannot be written, whatever the user may do."""

from __future__ import annotations

import os
from pathlib import Path

from tierfs.policy.volume_file import VolumeFile


def write_protected(settings: VolumeFile) -> list[Path]:
    """The directories of the volume on a filesystem that is mounted read-only; [] usually.

    One that is missing is none of them: who opens the volume says what is wrong with it.
    """
    directories = dict.fromkeys((settings.flash, settings.disk, settings.index.parent))
    return [directory for directory in directories if is_read_only(directory)]


def is_read_only(directory: Path) -> bool:
    """Whether the filesystem takes no writes: its device, its mount or an error made it so."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False
