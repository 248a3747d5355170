"""`tierfs mount --all`: what fstab names and is not served, dead mounts among it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, mounts_at, tierfs
from tierfs.cli.mount import FstabLine, fstab_lines

USAGE = 2


@pytest.fixture
def volume(make_mount: MakeMount) -> Mount:
    return make_mount.formatted()


@pytest.fixture
def table(volume: Mount, tmp_path: Path) -> Path:
    table = tmp_path / "fstab"
    table.write_text(
        "# a comment  of several words\n\n"
        "UUID=1  /  ext4  defaults  0  1\n"
        f"{volume.volume_file}  {volume.path}  tierfs  noatime,nofail,_netdev  0  0\n"
        "/none.yaml  /none  tierfs  nofail  0  0\n"
        "/none.yaml  /none  fuse.tierfs  noauto\n"
    )
    return table


def test_what_is_not_served_is_mounted(volume: Mount, table: Path) -> None:
    said = tierfs("mount", "--all", "--fstab", table)
    assert f"{volume.volume_file} is mounted on {volume.path}\n" in said
    assert "noatime" in volume.status()["options"]
    assert tierfs("mount", "-a", "-T", table) == ""
    volume.pid = int(volume.status()["pid"])
    (volume.path / "file").write_text("kept")
    volume.kill()
    tierfs("mount", "-a", "-T", table)
    assert mounts_at(volume.path) == 1
    assert (volume.path / "file").read_text() == "kept"


def test_one_that_fails_holds_up_no_other(volume: Mount, table: Path) -> None:
    text = table.read_text()
    table.write_text("/missing.yaml  /mnt  tierfs  defaults\n" + text)
    said = tierfs("mount", "--all", "--fstab", table, statuses=[USAGE])
    assert "/missing.yaml: cannot be read" in said
    assert volume.is_mounted()


def test_blanks_in_names(tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("/a\\040b.yaml /m\\011n tierfs ro\n")
    assert fstab_lines(table) == [FstabLine(Path("/a b.yaml"), Path("/m\tn"), "ro")]


@pytest.mark.parametrize("words", [[], ["v.yaml"], ["--all", "v.yaml", "m"], ["--all", "-f"]])
def test_words_that_make_no_sense(words: list[str]) -> None:
    assert "Usage: tierfs mount" in tierfs("mount", *words, statuses=[USAGE])
