"""Checking the backups: whether each can be read, and whether the copied changes lead on from one.

Reads everything that is there, and changes nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tierfs.backup.files import Backup, all_segments, backups, chain_from, directory_of
from tierfs.backup.making import CHUNK, decompressed
from tierfs.common.errors import TierfsError
from tierfs.fsck import kinds
from tierfs.fsck.check import Finding
from tierfs.fsck.kinds import Kind
from tierfs.metadata.feed_copy import Segment, inspect_segment
from tierfs.metadata.index import MAGIC
from tierfs.metadata.integrity import FeedState
from tierfs.policy.volume_file import VolumeFile

JOURNAL: Final = "-journal"
"""Behind the name of a segment, while something is added to it; a kill leaves it."""


def check_backups(settings: VolumeFile, state: FeedState | None) -> Iterator[Finding]:
    """What is wrong with the backups of a volume; nothing, where there are none.

    ``state``: of the feed in the index, which nobody has open; None: do not compare them with it.
    """
    directory = directory_of(settings)
    try:
        found, feed = backups(directory), all_segments(directory)
    except FileNotFoundError:
        return
    except OSError as exc:
        yield _finding(kinds.UNREADABLE, directory, f"cannot be read: {exc.strerror}")
        return
    bad = set[Path]()
    for each in found:
        if what := _problem(lambda: _read(each)):  # noqa: B023 - called at once
            bad.add(each.path)
            yield _finding(kinds.BAD_BACKUP, each.path, what)
    known: dict[Path, Segment] = {}
    for each in feed:
        if what := _problem(lambda: known.update({each.path: _inspect(each)})):  # noqa: B023
            yield _finding(kinds.BAD_BACKUP, each.path, what)
    if state is not None and settings.backup.enabled and state.copied is not None:
        good = [each for each in found if each.path not in bad]
        yield from _gaps(directory, good, known, state)


def _problem(look: Callable[[], object]) -> str:
    """Why it cannot be read; empty: it can, or it was just removed."""
    try:
        look()
    except FileNotFoundError:
        return ""
    except OSError as exc:
        return f"cannot be read: {exc.strerror}"
    except TierfsError as exc:
        return str(exc)
    return ""


def _read(backup: Backup) -> None:
    """Read all of it; its checksum is compared at the end."""
    with decompressed(backup.path) as stream:
        if not stream.read(len(MAGIC)).startswith(MAGIC):
            raise TierfsError("it holds no index")
        while stream.read(CHUNK):
            pass


def _inspect(segment: Backup) -> Segment:
    with tempfile.TemporaryDirectory() as copies:
        path, journal = segment.path, segment.path.with_name(segment.path.name + JOURNAL)
        if journal.exists():  # what was interrupted is rolled back by who opens it
            path = Path(copies, segment.path.name)
            shutil.copy(segment.path, path)
            shutil.copy(journal, path.with_name(journal.name))
        found = inspect_segment(path)
    if not found.generation.startswith(segment.generation) or found.start != segment.serial:
        raise TierfsError(f"it is of generation {found.generation}, from {found.start}")
    return found


def _gaps(
    directory: Path, found: list[Backup], known: dict[Path, Segment], state: FeedState
) -> Iterator[Finding]:
    """Whether a restore would bring back each change that the index counts as copied."""
    leading = [each for each in found if state.generation.startswith(each.generation)]
    if not leading:
        if found:
            what = "none is of the present generation of the change feed"
            yield _finding(kinds.OLD_BACKUPS, directory, what)
        return
    last, end = leading[-1], leading[-1].serial
    for each in chain_from(directory, last.path).segments:
        segment = known.get(each.path)
        if segment is not None and segment.start <= end:
            end = max(end, segment.end)
    if end < (state.copied or 0):
        what = (
            f"leads on to change {end}, and the index counts those up to {state.copied} as copied"
        )
        yield _finding(kinds.FEED_GAP, last.path, what)


def _finding(kind: Kind, path: Path, what: str) -> Finding:
    return Finding(kind, 0, what, bytes(path))
