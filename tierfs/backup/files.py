"""The directory of the backups: names, and which files belong together.

``index-GENERATION-SERIAL.db.zst`` is the index as the change SERIAL of the feed left it, in zstd.
``feed-GENERATION-SERIAL.db`` is a segment: each change behind SERIAL, up to where the next segment
starts. GENERATION is the beginning of that of the feed: what has another does not belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from tierfs.common.errors import VolumeRefused
from tierfs.policy.volume_file import VolumeFile

DIRECTORY: Final = "backup"
"""In the disk directory, where the volume file names no target."""

COPY: Final = "copy"
BACKUP: Final = "backup"
"""The readers of the feed: what is copied, and what a backup under way still needs."""

_NAME: Final = re.compile(r"(index|feed)-([0-9a-f]{8})-(\d{19})\.db(?:\.zst)?")
_SHOWN: Final = 8


class Backup(NamedTuple):
    """A backup or a segment, by its name; ``made`` is its mtime in nanoseconds."""

    path: Path
    generation: str
    serial: int
    made: int

    @property
    def bytes(self) -> int:
        """Its length."""
        return self.path.stat().st_size


class Chain(NamedTuple):
    """A backup, and the segments that continue from it, in their order."""

    backup: Backup
    segments: tuple[Backup, ...]

    @property
    def made(self) -> int:
        """When its last part was written, in nanoseconds."""
        return max(part.made for part in (self.backup, *self.segments))


def directory_of(settings: VolumeFile) -> Path:
    """Where the backups of a volume are."""
    return settings.backup.target or settings.disk / DIRECTORY


def index_name(generation: str, serial: int) -> str:
    """The name of a backup."""
    return f"index-{generation[:_SHOWN]}-{serial:019}.db.zst"


def segment_name(generation: str, start: int) -> str:
    """The name of a segment."""
    return f"feed-{generation[:_SHOWN]}-{start:019}.db"


def backups(directory: Path) -> list[Backup]:
    """Every backup, the oldest first.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(_found(directory, "index"), key=lambda each: (each.made, each.serial))


def segments(directory: Path, generation: str) -> list[Backup]:
    """The segments of a feed, in their order.

    Raises:
        OSError: the directory cannot be read.
    """
    shown = generation[:_SHOWN]
    found = (each for each in _found(directory, "feed") if each.generation == shown)
    return sorted(found, key=lambda each: each.serial)


def all_segments(directory: Path) -> list[Backup]:
    """The segments of every feed.

    Raises:
        OSError: the directory cannot be read.
    """
    return sorted(_found(directory, "feed"))


def chain_from(directory: Path, backup: Path | None = None) -> Chain:
    """The newest backup, or ``backup``, with its segments.

    Raises:
        VolumeRefused: there is none.
        OSError: the directory cannot be read.
    """
    if backup is not None:
        directory = backup.parent
    try:
        found = backups(directory)
    except FileNotFoundError:
        found = []
    chosen = [each for each in found if backup is None or each.path == backup]
    if not chosen:
        if backup is not None:
            raise VolumeRefused(
                f"{backup}: is not a backup of an index; 'tierfs backup --list VOLUME.yaml' shows"
                " the paths of those that there are"
            )
        raise VolumeRefused(
            f"{directory}: holds no backup of an index: name one with '--backup', or recover the"
            " files without their names with '--from-objects'"
        )
    last = chosen[-1]
    return Chain(last, tuple(_onward(segments(directory, last.generation), last.serial)))


def _onward(ordered: list[Backup], serial: int) -> Iterable[Backup]:
    """The segments with something behind a serial: from the last that starts at or before it."""
    before = [at for at, each in enumerate(ordered) if each.serial <= serial]
    return ordered[before[-1] :] if before else ()


def superfluous(found: list[Backup], feed: list[Backup], keep: int) -> list[Backup]:
    """What may go: all backups but the newest ``keep``, and segments that none of these needs."""
    kept = found[-keep:]
    needed = {each for backup in kept for each in _onward(feed, backup.serial)}
    return [*found[:-keep], *(each for each in feed if each not in needed and each != feed[-1])]


def _found(directory: Path, kind: str) -> Iterable[Backup]:
    for path in directory.iterdir():
        name = _NAME.fullmatch(path.name)
        if name is not None and name[1] == kind and path.is_file() and not path.is_symlink():
            yield Backup(path, name[2], int(name[3]), path.stat().st_mtime_ns)
