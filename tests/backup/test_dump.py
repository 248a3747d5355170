"""``tierfs dump`` and ``load``: a volume comes back from the lines alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.trees import differences, make_tree, snapshot
from tierfs.common.errors import ExitCode


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    mount = make_mount()
    make_tree(mount.path, files=40)
    (mount.path / os.fsdecode(b"\xff")).symlink_to(os.fsdecode(b"\xfe/target"))
    for name in ("old", "late", "pinned"):
        (mount.path / name).write_bytes(b"bytes")
    os.utime(mount.path / "old", ns=(0, -(2**31) * 10**9))
    os.utime(mount.path / "late", ns=(0, 2**33 * 10**9))
    tierfs("pin", mount.path / "pinned")
    return mount


def lose_index(mount: Mount) -> None:
    for each in mount.flash.glob("index.db*"):
        each.unlink()


@pytest.mark.parametrize("end", ["unmount", "kill"])
def test_a_dump_brings_everything_back(mount: Mount, scratch: Path, end: str) -> None:
    before = snapshot(mount.path)
    (mount.unmount if end == "unmount" else mount.kill)()
    lines = tierfs("dump", mount.volume_file)
    lose_index(mount)
    (scratch / "dump").write_text(lines)
    report = json.loads(tierfs("load", "--json", mount.volume_file, scratch / "dump"))
    assert (report["missing"], report["found"]) == (0, 0)
    if end == "unmount":
        assert_clean(mount.volume_file)
        again = tierfs("dump", mount.volume_file).splitlines()
        assert again[1:-1] == lines.splitlines()[1:-1]
    mount.mount()
    assert differences(before, snapshot(mount.path)) == []
    assert os.getxattr(mount.path / "pinned", "tierfs.pin") == b"1"


def test_a_mounted_volume_is_dumped_from_its_last_backup(mount: Mount) -> None:
    said = tierfs("dump", mount.volume_file, statuses=[ExitCode.VOLUME_BUSY])
    assert f"is mounted on {mount.path}: unmount it first" in said
    mount.back_up()
    header, *records, end = map(
        json.loads, tierfs("dump", "--last-backup", mount.volume_file).splitlines()
    )
    assert (header["tierfs"], header["version"]) == ("dump", 1)
    assert end == {"end": True, "records": len(records)}
    assert {os.fsencode(each["name"]) for each in records if each.get("of") == "name"} >= {b"\xff"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "ends too early"),
        (lambda lines: [lines[0].replace('"version": 1', '"version": 2'), *lines[1:]], "newer"),
        (lambda lines: [*lines[:3], "{", *lines[4:]], "line 4 of the dump is wrong"),
        (lambda lines: [*lines[:3], '{"change": "put", "of": "inode"}', *lines[4:]], "line 4"),
        (lambda lines: [*lines[:3], *lines[4:]], "ends too early"),
    ],
)
def test_a_damaged_dump_is_refused(
    mount: Mount, scratch: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    mount.unmount()
    lines = tierfs("dump", mount.volume_file).splitlines()
    (scratch / "dump").write_text("\n".join(change(lines)) + "\n")
    lose_index(mount)
    said = tierfs("load", mount.volume_file, scratch / "dump", statuses=[3, 7])
    assert message in said
    assert list(mount.flash.glob("index.db*")) == []
