"""Volumes that older versions made: they mount, show what they showed, and pass fsck."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from tests.fixtures.old_volumes import ARCHIVES, HEAD, described, unpack, without_moves
from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import drop_page_cache, wait_until

pytestmark = pytest.mark.once

LARGEST = 100_000
"""Bytes of an archive at most: the repository keeps one for each shape of the index."""


def put_back(mount: Mount, unpacked: Path) -> None:
    """Replace a new volume's parts with the unpacked ones."""
    for tier in (mount.flash, mount.disk):
        shutil.rmtree(tier)
        shutil.copytree(unpacked / tier.name, tier)


def requests_carried_out(mount: Mount) -> bool:
    """Whether the moves that were asked for before the volume was unmounted are done."""
    hand = mount.path / "hand"
    down = os.getxattr(hand / "asked down", "tierfs.location")
    up = os.getxattr(hand / "asked up", "tierfs.prefix")
    return (down, up) == (b"disk", b"%d" % (2 * HEAD))


def test_there_is_one_of_each_shape() -> None:
    assert [path.name for path in ARCHIVES][:1] == ["volume-v1.tar.xz"]
    assert all(path.stat().st_size < LARGEST for path in ARCHIVES)


@pytest.mark.parametrize("end", ["clean", "killed"])
@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def test_an_old_volume_is_mounted(
    archive: Path, end: str, make_mount: MakeMount, scratch: Path
) -> None:
    mount = make_mount.formatted(head=HEAD)
    manifest = unpack(archive, scratch / "old")[end]
    put_back(mount, scratch / "old" / end)
    for _ in range(2):
        mount.mount()
        assert without_moves(described(mount.path)) == without_moves(manifest["names"])
        wait_until(lambda: requests_carried_out(mount), what="the requests are carried out")
        drop_page_cache()
        assert without_moves(described(mount.path)) == without_moves(manifest["names"])
        mount.unmount()
        assert_clean(mount.volume_file)


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def test_an_old_volume_is_written_to(archive: Path, make_mount: MakeMount, scratch: Path) -> None:
    mount = make_mount.formatted(head=HEAD)
    unpack(archive, scratch / "old")
    put_back(mount, scratch / "old" / "killed")
    mount.mount()
    contents = {}
    for number, path in enumerate(sorted(mount.path.rglob("*"))):
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1:
            old = path.read_bytes()
            at = len(old) // 2 if number % 2 else len(old) + 5000
            descriptor = os.open(path, os.O_WRONLY)
            os.pwrite(descriptor, b"new bytes", at)
            os.fsync(descriptor)
            os.close(descriptor)
            contents[path] = old[:at].ljust(at, b"\0") + b"new bytes" + old[at + 9 :]
    mount.kill()
    mount.mount()
    for path, expected in contents.items():
        assert path.read_bytes() == expected, path
    shutil.rmtree(mount.path / "plain")
    mount.unmount()
    assert_clean(mount.volume_file)


@pytest.mark.parametrize(
    "archive", [path for path in ARCHIVES if "v12" in path.name], ids=lambda path: path.name
)
def test_an_old_volume_is_restored_from_its_own_backup(
    archive: Path, make_mount: MakeMount, scratch: Path
) -> None:
    mount = make_mount.formatted(head=HEAD)
    manifest = unpack(archive, scratch / "old")["clean"]
    put_back(mount, scratch / "old" / "clean")
    for each in mount.flash.glob("index.db*"):
        each.unlink()
    report = json.loads(tierfs("restore", "--json", mount.volume_file))
    assert (report["missing"], report["found"]) == (0, 0)
    assert report["changes"] > 0
    mount.mount()
    assert without_moves(described(mount.path)) == without_moves(manifest["names"])
    mount.unmount()
    assert_clean(mount.volume_file)
