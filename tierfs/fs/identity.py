"""Giving a volume another UUID: a copy needs one of its own to be used beside the original.

The UUID is in three places, both markers and the index, which no single step can change. So what is
being done stands in a file first: a change that was cut short is completed by the next one, and
until then the volume is refused, as its parts do not agree.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tierfs.common.beneath import DIRECTORY, open_file
from tierfs.common.errors import VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.common.sync import sync_file
from tierfs.fs.trust import require_trusted
from tierfs.metadata.index import Index, require_database
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import MARKER, MODE, MOST, VolumeLock, read_marker

CHANGE: Final = ".tierfs-new-uuid"
"""In the flash directory while the UUID is being changed: the old one and the new one."""


def give_new_uuid(settings: VolumeFile) -> uuid.UUID:
    """Give a volume that is not mounted a new UUID, and return it.

    Raises:
        VolumeRefused: the directories and the index are not one volume.
        VolumeBusy: it is mounted.
        FsError, OSError: something could not be written; the next call completes it.
    """
    require_trusted(settings)
    with ExitStack() as resources:
        markers = {
            settings.flash: read_marker(settings.flash, "flash"),
            settings.disk: read_marker(settings.disk, "disk"),
        }
        for directory in markers:
            resources.callback(VolumeLock(directory).release)
        old, new = _change(settings, markers[settings.flash].volume)
        for directory, marker in markers.items():
            if marker.volume not in (old, new):
                raise VolumeRefused(
                    f"{directory}: belongs to volume {marker.volume}, not to {old}: "
                    "check 'flash' and 'disk' in the volume file"
                )
        require_database(settings.index)
        index = Index(settings.index, SYSTEM, Metrics())
        resources.callback(index.close)
        with suppress(VolumeRefused):
            index.require(new)
            old = new  # an earlier attempt came so far
        index.require(old)
        _write(settings.flash / CHANGE, {"old": str(old), "new": str(new)})
        index.bind(new)
        index.sync()
        for directory in markers:
            _write(directory / MARKER, {**_content(directory / MARKER), "volume": str(new)})
        index.keep_counts()
        (settings.flash / CHANGE).unlink()
        return new


def _change(settings: VolumeFile, volume: uuid.UUID) -> tuple[uuid.UUID, uuid.UUID]:
    """The UUID to replace, and the one to put in its place."""
    try:
        begun = _content(settings.flash / CHANGE)
        return uuid.UUID(str(begun["old"])), uuid.UUID(str(begun["new"]))
    except FileNotFoundError:
        return volume, uuid.uuid4()
    except (ValueError, KeyError) as error:
        raise VolumeRefused(
            f"{settings.flash / CHANGE}: is damaged ({error}): remove it when the UUIDs in "
            f"{settings.flash / MARKER} and {settings.disk / MARKER} are the same"
        ) from error


def _content(path: Path) -> dict[str, object]:
    with _directory(path) as directory:
        descriptor = open_file(path.name, os.O_RDONLY, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = json.loads(file.read(MOST))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - as what else is wrong with it
    return content


def _write(path: Path, content: dict[str, object]) -> None:
    """Replace ``path`` durably, in one step."""
    temporary = f"{path.name}.new"
    with _directory(path) as directory:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        descriptor = open_file(temporary, flags, MODE, dir_fd=directory)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.write("\n")
            file.flush()
            sync_file(descriptor)
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        sync_file(directory)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path.parent, DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
