"""What ``tierfs status`` shows of a mount."""

from __future__ import annotations

import os
from pathlib import Path

from tierfs.core.media import is_read_only
from tierfs.core.volume import Volume
from tierfs.mount.connection import Connection
from tierfs.mount.options import MountOptions
from tierfs.store.objects import Space


def status(
    volume: Volume, connection: Connection, options: MountOptions, uptime: float
) -> dict[str, object]:
    """A record for JSON; sizes in bytes, ``uptime`` in seconds. Reads the whole inode table.

    Raises:
        FsError, OSError: the index or a tier's directory cannot be read.
    """
    settings = volume.settings
    usage = volume.usage()
    counts = usage.counts
    return {
        "volume": os.fspath(settings.path),
        "uuid": str(volume.uuid),
        "mountpoint": os.fspath(connection.mountpoint),
        "pid": os.getpid(),
        "uptime_s": round(uptime, 1),
        "options": list(options.shown),
        "fast_path": None if connection.fast_path is None else connection.fast_path.status(),
        "head": settings.head,
        "tiers": {
            "flash": _tier(settings.flash, usage.flash, counts.flash_files, counts.flash_bytes),
            "disk": _tier(settings.disk, usage.disk, counts.disk_files, counts.disk_bytes),
        },
        "index": {
            "path": os.fspath(settings.index),
            "bytes": usage.index_bytes,
            "inodes": counts.inodes,
        },
        "log": None if settings.log.file is None else os.fspath(settings.log.file),
    }


def _tier(directory: Path, space: Space, files: int, used: int) -> dict[str, object]:
    return {
        "directory": os.fspath(directory),
        "read_only": is_read_only(directory),
        "capacity": space.capacity,
        "free": space.available,
        "files": files,
        "bytes": used,
    }
