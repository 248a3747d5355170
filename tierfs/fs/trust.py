"""Whether only trusted users can change a volume's files; checked before it is opened.

Root serves all users, with the bytes, owners and modes that it finds below. So where root opens a
volume, no other user may be able to write to its directories.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Final

from tierfs.common.beneath import DIRECTORY
from tierfs.common.errors import VolumeRefused
from tierfs.common.trust import Exposed, exposed, is_foreign, user_name
from tierfs.metadata.index import BESIDE
from tierfs.policy.volume_file import VolumeFile
from tierfs.storage.markers import MARKER

log = logging.getLogger(__name__)

HEADS: Final = "heads"
OBJECTS: Final = "objects"

PROTECTED_HARDLINKS: Final = Path("/proc/sys/fs/protected_hardlinks")
"""0: anybody may give anybody's file another name (https://docs.kernel.org/admin-guide/sysctl/fs.html)."""

_OF_INDEX: Final = ("", *BESIDE, ".heat", ".heat.new", ".first-reads", ".first-reads.new")


def require_trusted(settings: VolumeFile, *, formatting: bool = False) -> None:
    """Refuse a volume that others can change, where root opens or formats it.

    A tier's directory that has the sticky bit, as that of a fresh tmpfs, is closed to others; where
    it is formatted the caller has seen that it is empty, and so nobody else's. With
    ``allow_untrusted`` others may write to the tiers, but not to the index or the volume file.

    Raises:
        VolumeRefused: with what to do.
    """
    if os.geteuid() != 0:
        return
    try:
        _check(settings, formatting=formatting)
    except OSError as exc:
        raise VolumeRefused(f"{settings.path}: {exc.filename}: {exc.strerror}") from exc


def _check(settings: VolumeFile, *, formatting: bool) -> None:
    _refuse(settings, exposed(settings.path), "")
    if settings.allow_untrusted:
        if PROTECTED_HARDLINKS.read_text(encoding="ascii").strip() == "0":
            raise VolumeRefused(
                f"{settings.path}: allow_untrusted: others could give any file of the tiers' "
                "filesystems the name of an object: sysctl fs.protected_hardlinks=1"
            )
        hint = "or let 'index' in the volume file name a place that only root can write to"
        _refuse(settings, exposed(settings.index.parent), hint)
    else:
        hint = "or say 'allow_untrusted: true' in the volume file, which mounts nosuid and nodev"
        for tier in (settings.flash, settings.disk):
            _refuse(settings, exposed(tier, sticky=True), hint)
            if formatting or (tier / MARKER).exists():
                _close_to_others(tier)
            _refuse(settings, _foreign([tier / MARKER, tier / HEADS, tier / OBJECTS]), hint)
        _refuse(settings, exposed(settings.index.parent), hint)
    names = [settings.index.with_name(settings.index.name + suffix) for suffix in _OF_INDEX]
    _refuse(settings, _foreign(names), "")


def _refuse(settings: VolumeFile, found: Exposed | None, hint: str) -> None:
    if found is not None:
        remedy = f"{found.remedy}, {hint}" if hint else found.remedy
        raise VolumeRefused(
            f"{settings.path}: {found.path} {found.how}, who could put anything in the place of "
            f"this volume's files, and root would serve it: {remedy}"
        )


def _foreign(paths: list[Path]) -> Exposed | None:
    """What was put there by others, be it before the directory was closed to them."""
    for path in paths:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if is_foreign(status):
            return Exposed(
                path, f"belongs to {user_name(status.st_uid)}", f"chown -h root '{path}'"
            )
    return None


def _close_to_others(tier: Path) -> None:
    """A directory with the sticky bit, of our own: nobody but tierfs has anything to do in it."""
    try:
        descriptor = os.open(tier, DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return  # reported when the marker is read
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.fchmod(descriptor, mode & ~(stat.S_IWGRP | stat.S_IWOTH))
            log.info("%s: others can no longer write to this directory of a volume", tier)
    finally:
        os.close(descriptor)
