"""``tierfs doctor``: no error on a sound machine, and each finding says what to do."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

from tests.support.volumes import make_tiers, volume_settings
from tierfs.cli.doctor import (
    DESCRIPTORS,
    READ_AHEAD_KIB,
    Finding,
    clock,
    descriptors,
    fuse_device,
    kernel,
    machine,
    mounted,
    others,
    read_ahead,
    rings,
    room,
    volume,
)
from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.daemon.mountinfo import Mount
from tierfs.fs.volume import format_volume


@pytest.fixture(autouse=True)
def _without_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test may have a dead mount just now."""
    monkeypatch.setattr("tierfs.cli.doctor.mounts", list)


def levels(findings: list[Finding]) -> list[str]:
    """The level of each."""
    return [one.level for one in findings]


def statvfs(*, free: int = 50, inodes_free: int = 50, read_only: bool = False) -> os.statvfs_result:
    """A filesystem of 100 blocks and 100 inodes."""
    flags = os.ST_RDONLY if read_only else 0
    return os.statvfs_result(
        (4096, 4096, 100, free, free, 100, inodes_free, inodes_free, flags, 255)
    )


def test_this_machine_is_sound() -> None:
    found = list(machine())
    assert "error" not in levels(found), found


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (kernel("6.1.0-18-amd64"), "ok"),
        (kernel("5.10.0"), "ok"),
        (kernel("5.4.0-150-generic"), "error"),
        (descriptors(DESCRIPTORS), "ok"),
        (descriptors(resource.RLIM_INFINITY), "ok"),
        (descriptors(1024), "warning"),
        (clock(1_800_000_000), "ok"),
        (clock(3600), "error"),
    ],
)
def test_a_finding_has_its_level_and_a_remedy(finding: Finding, level: str) -> None:
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_a_missing_device_is_an_error(tmp_path: Path) -> None:
    found = fuse_device(tmp_path / "fuse")
    assert found.level == "error"
    assert "modprobe fuse" in found.remedy


@pytest.mark.parametrize(
    ("content", "level"), [("user_allow_other\n", "ok"), ("#user_allow_other\n", "note")]
)
def test_whether_others_may_be_let_in(tmp_path: Path, content: str, level: str) -> None:
    (tmp_path / "fuse.conf").write_text(content)
    assert others(tmp_path / "fuse.conf").level == level
    assert others(tmp_path / "none").level == "note"


@pytest.mark.parametrize(("content", "level"), [("Y\n", "ok"), ("N\n", "note"), (None, "ok")])
def test_rings_may_be_off(tmp_path: Path, content: str | None, level: str) -> None:
    if content is not None:
        (tmp_path / "enable_uring").write_text(content)
    assert rings(tmp_path / "enable_uring").level == level


@pytest.mark.parametrize(("kib", "level"), [(READ_AHEAD_KIB, "ok"), (4, "warning")])
def test_a_short_read_ahead_is_told(tmp_path: Path, kib: int, level: str) -> None:
    (tmp_path / "read_ahead_kb").write_text(f"{kib}\n")
    assert read_ahead("/mnt", tmp_path / "read_ahead_kb").level == level


def test_only_mounts_of_tierfs_are_looked_at() -> None:
    other = Mount(Path("/"), "ext4", "/dev/vda", "rw", "rw")
    assert list(mounted([other])) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (statvfs(), ["ok"]),
        (statvfs(free=4), ["warning"]),
        (statvfs(inodes_free=4), ["ok", "warning"]),
        (statvfs(read_only=True), ["warning", "ok"]),
    ],
)
def test_room_is_told(found: os.statvfs_result, expected: list[str]) -> None:
    findings = list(room("flash", found))
    assert levels(findings) == expected
    assert all(one.remedy for one in findings if one.level != "ok")


def test_a_sound_volume_has_no_error(tmp_path: Path) -> None:
    settings = volume_settings(tmp_path)
    make_tiers(settings)
    format_volume(settings)
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    found = list(volume(write_volume_file(tmp_path)))
    assert "error" not in levels(found), found
    assert any("one filesystem" in one.text for one in found)
    assert {path: path.stat().st_mtime_ns for path in before} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


def write_volume_file(home: Path) -> Path:
    """The volume file of ``volume_settings``."""
    path = home / "written.yaml"
    path.write_text("version: 1\nflash: flash\ndisk: disk\n")
    return path


def test_a_lost_index_is_an_error(tmp_path: Path) -> None:
    settings = volume_settings(tmp_path)
    make_tiers(settings)
    format_volume(settings)
    settings.index.unlink()
    found = list(volume(write_volume_file(tmp_path)))
    assert any(one.level == "error" and "index is missing" in one.text for one in found), found


def test_a_typo_in_the_volume_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "volume.yaml"
    path.write_text("version: 1\nflahs: /nvme\n")
    assert main(["doctor", "--json", str(path)]) == ExitCode.UNEXPECTED
    findings = json.loads(capsys.readouterr().out)["findings"]
    [wrong] = [one for one in findings if one["level"] == "error"]
    assert f"{path}:2:1" in wrong["text"]


def test_quiet_leaves_out_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--quiet"]) == ExitCode.OK
    assert not [line for line in capsys.readouterr().out.splitlines() if line.startswith("ok")]
