"""The identity of a volume: its UUID, and the mount generation that reveals an older copy.

**The mount generation** shows whether the index and the two directories belong together. Each
writable mount makes a new one, and so do its checkpoints and its end. First the index stores
durably which one is next; then both markers get it; then it becomes the index's current one. After
a crash anywhere each marker has the current or the next one, and the index knows both. If a marker
has another one, the index or the directory is an older copy: an old index would reuse the numbers
of files that it does not know, and overwrite their objects.

**The UUID** is in three places, both markers and the index, which no single step can change. A copy
of a volume needs a new one to be used beside the original. So the intended change is written to a
file first: a change that was interrupted is completed by the next one, and until then the volume is
refused, as its parts do not agree.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.beneath import DIRECTORY, open_file
from tierfs.common.errors import VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.sync import sync_file
from tierfs.fs.trust import require_trusted
from tierfs.metadata.index import Index, require_database, settle
from tierfs.metadata.recovery import Generations
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import (
    MARKER,
    MODE,
    MOST,
    Marker,
    VolumeLock,
    read_marker,
    rewrite_marker,
)

CHANGE: Final = ".tierfs-new-uuid"
"""In the flash directory while the UUID is being changed: the old one and the new one."""


def volume_uuid(settings: VolumeFile) -> uuid.UUID:
    """The UUID that both directories agree on.

    Raises:
        VolumeRefused: they are no volume, or not of the same one.
    """
    flash = read_marker(settings.flash, "flash").volume
    disk = read_marker(settings.disk, "disk").volume
    if flash != disk:
        raise VolumeRefused(
            f"{settings.path}: {settings.flash} belongs to volume {flash}, "
            f"{settings.disk} to volume {disk}: check 'flash' and 'disk' in the volume file"
        )
    return flash


def is_read_only(directory: Path) -> bool:
    """Whether the filesystem takes no writes: its device, its mount or an error made it so."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


@contextmanager
def locked(settings: VolumeFile, *, to_write: bool = False) -> Iterator[str]:
    """Keep daemons and other checks out; gives the UUID of the volume."""
    require_trusted(settings)
    volume = str(volume_uuid(settings))
    with ExitStack() as stack:
        for directory in (settings.flash, settings.disk):
            stack.callback(VolumeLock(directory).release)
        require_database(settings.index, writable=to_write)
        writable = not is_read_only(settings.index.parent)
        settle(settings.index, SYSTEM, Metrics(), writable=writable)
        yield volume


class Markers(NamedTuple):
    """Both markers of a volume, read by who holds its locks."""

    flash: Marker
    disk: Marker


def read_markers(settings: VolumeFile) -> Markers:
    """What both markers say.

    Raises:
        VolumeRefused: a directory is not this tier of a volume.
    """
    return Markers(read_marker(settings.flash, "flash"), read_marker(settings.disk, "disk"))


def strangers(markers: Markers, index: Generations) -> list[Marker]:
    """The markers that are of another time than the index.

    Where nothing has a generation, the volume was never mounted since there are any.
    """
    known = {index.current, index.next or index.current}
    return [marker for marker in markers if marker.generation not in known]


def disagreement(settings: VolumeFile, markers: Markers, index: Generations) -> str:
    """What is of another time than what, for people; empty: all is of the same."""
    others = strangers(markers, index)
    if not others:
        return ""
    named = {"flash": settings.flash, "disk": settings.disk}
    told = [f"{named[marker.tier]} of {_told(marker.generation)}" for marker in others]
    return (
        f"the index {settings.index} is of the mount {_told(index.current)}, {' and '.join(told)}"
    )


def require_agreement(settings: VolumeFile, markers: Markers, index: Generations) -> None:
    """Check that the index and both directories are of the same time.

    Raises:
        VolumeRefused: they are not.
    """
    if what := disagreement(settings, markers, index):
        older = "the index" if len(strangers(markers, index)) > 1 else "the index or that directory"
        raise VolumeRefused(
            f"{settings.path}: {what}: {older} is an older copy, and new files would be written "
            "over those that it does not know. Restore what belongs together, or accept what is "
            f"there now with 'tierfs fsck --repair {settings.path}'"
        )


def renew(settings: VolumeFile, markers: Markers, index: Index, os_: Os) -> int:
    """Give the index and both markers, which agree, a new generation.

    Returns how many transactions that took.

    What a crash has left half way is brought to its end before, so that the index never has to
    know more than two.

    Raises:
        FsError, OSError: the index or a marker could not be written; they still agree.
    """
    begun, transactions = index.generations(), 2
    if begun.next:
        transactions += 1
        _mark(settings, markers, begun.next, os_)
        index.complete_generation()
    following = uuid.uuid4()
    index.begin_generation(following)
    _mark(settings, markers, str(following), os_)
    index.complete_generation()
    return transactions


def _mark(settings: VolumeFile, markers: Markers, generation: str, os_: Os) -> None:
    rewrite_marker(settings.flash, markers.flash._replace(generation=generation), os_)
    rewrite_marker(settings.disk, markers.disk._replace(generation=generation), os_)


def _told(generation: str) -> str:
    return generation or "(none: made before there were generations)"


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
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - as what else is wrong with it
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
