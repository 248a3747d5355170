"""A copied volume is told apart from its original, and used beside it once it has its own UUID."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs, unmount_by_force

BUSY = 4


def copied(mount: Mount, home: Path) -> Path:
    """A copy of a volume that is not mounted; returns its volume file."""
    for name, tier in (("flash", mount.flash), ("disk", mount.disk)):
        shutil.copytree(tier, home / name)
    text = mount.volume_file.read_text().replace(str(mount.flash), str(home / "flash"))
    text = text.replace(str(mount.disk), str(home / "disk"))
    text = text.replace(str(mount.log.path), str(home / "daemon.log"))
    (home / "copy.yaml").write_text(text)
    (home / "mnt").mkdir()
    return home / "copy.yaml"


def test_a_copy_beside_its_original(make_mount: MakeMount, scratch: Path) -> None:
    mount = make_mount()
    (mount.path / "file").write_text("both")
    mount.unmount()
    home = scratch / "copy"
    home.mkdir()
    copy = copied(mount, home)
    mount.mount()
    try:
        said = tierfs("mount", copy, home / "mnt", statuses=[BUSY])
        assert f"tierfs new-uuid {copy}" in said
        assert mount.status()["pid"] == mount.pid
        assert "the volume is " in tierfs("new-uuid", copy)
        tierfs("mount", copy, home / "mnt")
        assert (home / "mnt" / "file").read_text() == "both"
        (home / "mnt" / "file").write_text("the copy")
        assert (mount.path / "file").read_text() == "both"
        assert str(home / "mnt") in tierfs("status", copy)
        tierfs("umount", home / "mnt")
        assert mount.status()["pid"] == mount.pid
    finally:
        unmount_by_force(home / "mnt")


def test_a_mounted_volume_keeps_its_uuid(make_mount: MakeMount) -> None:
    mounted_volume = make_mount()
    before = mounted_volume.status()["uuid"]
    tierfs("new-uuid", mounted_volume.volume_file, statuses=[BUSY])
    assert mounted_volume.status()["uuid"] == before
