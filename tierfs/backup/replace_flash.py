"""A new flash directory in the place of one that is lost.

What the disk has is served from there at once: the rows of these files say so. Of the others the
rows stay, and reads of what only flash had give EIO.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from tierfs.backup.files import chain_from, directory_of
from tierfs.backup.making import sync_directory
from tierfs.backup.restore import UNFINISHED, Listener, Report, Source, made_index
from tierfs.common.errors import VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM, Os
from tierfs.common.sync import sync_file
from tierfs.fs.trust import require_trusted
from tierfs.metadata.index import require_database, settle
from tierfs.policy.volume_file import INDEX_NAME, VolumeFile, load_volume_file
from tierfs.policy.volume_template import quoted_path
from tierfs.storage.markers import IGNORED, MARKER, VolumeLock, read_marker

_OURS: Final = frozenset(
    {MARKER, *(f"{INDEX_NAME}{UNFINISHED}{suffix}" for suffix in ("", "-wal", "-journal"))}
)
"""What an attempt that was interrupted leaves in the new directory."""


def replace_flash(
    settings: VolumeFile,
    directory: Path,
    *,
    backup: Path | None = None,
    listener: Listener = lambda _path, _what: None,
    os_: Os = SYSTEM,
) -> Report:
    """Make ``directory``, which is empty, the flash directory of a volume whose own is lost.

    The index is restored from its backups, unless it was elsewhere and is there. At the end the
    volume file names the new directory.

    Args:
        settings: of the volume, whose disk directory is there.
        directory: the new flash directory.
        backup: the one to take; None: the index that is there, or the newest.
        listener: gets each file that has lost bytes.
        os_: for tests.

    Raises:
        VolumeRefused: the directory is not empty, there is no backup, or others can change it.
        VolumeBusy: the volume is mounted.
        DamageFound: the backup is damaged.
        IndexFailed, OSError: something could not be read or written.
    """
    directory = directory.absolute()
    renewed = replace(settings, flash=directory, index=_new_index(settings, directory))
    _require_empty(directory, renewed)
    disk = read_marker(settings.disk, "disk")
    lock = VolumeLock(settings.disk)
    try:
        require_trusted(renewed)
        if backup is None and renewed.index.exists():
            require_database(renewed.index)
            settle(renewed.index, os_, Metrics(), writable=True)
            source = Source(old=renewed.index)
        else:
            source = Source(chain_from(directory_of(settings), backup))
        with made_index(renewed, source, disk, flash_lost=True, os_=os_) as made:
            made.reconcile(listener)
            made.finish()
            made.mark_new_flash(disk)
            made.put_in_place()
        if settings.flash != directory:
            os_.call("restore.volume_file", _rename_flash, settings, renewed)
    finally:
        lock.release()
    return made.report


def _new_index(settings: VolumeFile, directory: Path) -> Path:
    """Where the index is then: it moves with the directory that it was in."""
    if settings.index.is_relative_to(settings.flash):
        return directory / settings.index.relative_to(settings.flash)
    return settings.index


def _require_empty(directory: Path, renewed: VolumeFile) -> None:
    if not directory.is_dir():
        raise VolumeRefused(f"{directory}: is not a directory: make it, empty, on the new flash")
    if directory == renewed.disk or renewed.disk.is_relative_to(directory):
        raise VolumeRefused(f"{directory}: is, or holds, the disk directory")
    ours = _OURS if (directory / f"{INDEX_NAME}").exists() is False else frozenset[str]()
    others = sorted({entry.name for entry in directory.iterdir()} - IGNORED - ours)
    if others:
        raise VolumeRefused(
            f"{directory}: is not empty (it holds {others[0]!r}): choose an empty directory. "
            "A flash directory that can be read is copied, not replaced"
        )


def _rename_flash(settings: VolumeFile, renewed: VolumeFile) -> None:
    """Let the volume file name the new directory; its other lines stay.

    Raises:
        VolumeRefused: its lines are not as a volume file has them: it must be edited by hand.
    """
    text = settings.path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^flash:.*$", lambda _: f"flash: {quoted_path(renewed.flash)}", text)
    if renewed.index != settings.index:
        text = re.sub(r"(?m)^index:.*$", lambda _: f"index: {quoted_path(renewed.index)}", text)
    unfinished = settings.path.with_name(f".{settings.path.name}.new")
    status = settings.path.stat()
    descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, status.st_mode & 0o7777)
            os.fchown(descriptor, status.st_uid, status.st_gid)
            sync_file(descriptor)
        found = load_volume_file(unfinished)
        if (found.flash, found.index) != (renewed.flash, renewed.index):
            raise VolumeRefused(
                f"{settings.path}: all is done but this: write 'flash: {renewed.flash}' there"
            )
        unfinished.rename(settings.path)
        sync_directory(settings.path.parent)
    finally:
        unfinished.unlink(missing_ok=True)
