"""The mount generation: whether the index and the two directories are of the same time.

Each writable mount makes a new one, and so do its checkpoints and its end. The index first notes
durably which is next; then the markers get it; then it is the index's own. A crash anywhere leaves
markers of the one or the other, both of which the index knows. Whatever else a marker says, the
index or the directory is older than the rest: an old index would give new files the numbers of
those that it does not know, and write over their objects.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from tierfs.common.errors import VolumeRefused
from tierfs.common.osio import Os
from tierfs.metadata.index import Generations, Index
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import Marker, read_marker, rewrite_marker


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
