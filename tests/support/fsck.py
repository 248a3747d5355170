"""The check of a volume, for tests of anything that writes to one."""

from __future__ import annotations

from pathlib import Path

from tests.support.proc import wait_until
from tierfs.common.errors import VolumeBusy
from tierfs.fs.identity import locked
from tierfs.fsck.check import check
from tierfs.policy.volume_file import VolumeFile, load_volume_file


def assert_clean(volume: Path | VolumeFile, *, thorough: bool = True) -> None:
    """Assert that a check of a volume that is not mounted finds nothing but notes.

    What a killed daemon leaves for the next mount is no finding, so this holds right after a kill.
    """
    settings = load_volume_file(volume) if isinstance(volume, Path) else volume
    # A killed daemon is a zombie before the last of its threads has let go of the volume.
    wait_until(lambda: is_free(settings), what="the daemon lets go of the volume")
    report = check(settings, thorough=thorough)
    told = [
        f"{found.kind.name}: inode {found.ino} {found.path!r}: {found.what}"
        for found in report.findings
    ]
    assert report.clean, "\n".join(told)
    assert report.complete


def is_free(settings: VolumeFile) -> bool:
    """Whether nobody has the volume."""
    try:
        with locked(settings):
            return True
    except VolumeBusy:
        return False
