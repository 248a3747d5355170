"""What is lost after a backup and many changes behind it: the index, flash, both with the feed.

``TIERFS_RESTORE_FILES=100000`` makes the tree as large as that, with a tenth as many changes; a run
then takes some minutes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until
from tierfs.common.errors import ExitCode

FILES = int(os.environ.get("TIERFS_RESTORE_FILES", "400"))
CHANGES = FILES // 10
IN_A_DIRECTORY = 100
PATIENCE = 60 + FILES / 50

pytestmark = [pytest.mark.long, pytest.mark.timeout(4 * PATIENCE)]


def path_of(root: Path, number: int) -> Path:
    return root / f"{number // IN_A_DIRECTORY:05}" / f"file {number}"


def make(root: Path) -> None:
    """Small files, and some whose tail is on disk."""
    chance = random.Random(FILES)
    for number in range(FILES):
        path = path_of(root, number)
        if number % IN_A_DIRECTORY == 0:
            path.parent.mkdir()
        size = 70_000 if number % 50 == 0 else chance.randrange(3000)
        path.write_bytes(chance.randbytes(size))
        if number % 10 == 0:
            os.setxattr(path, "user.number", b"%d" % number)


def change(root: Path) -> set[str]:
    """Changes of ten kinds behind the backup; returns the names below ``root`` that they touch."""
    chance = random.Random(CHANGES)
    touched: set[str] = set()
    for turn, number in enumerate(chance.sample(range(FILES), CHANGES)):
        path = path_of(root, number)
        names = [path]
        match turn % 10:
            case 0:
                path.write_bytes(b"replaced %d" % number)
            case 1:
                with path.open("ab") as file:
                    file.write(b"appended" * (turn % 3000))
            case 2:
                with path.open("r+b") as file:
                    file.write(b"overwritten")
            case 3:
                os.truncate(path, number % 2000)
            case 4:
                names.append(path.with_name(f"renamed {number}"))
                path.rename(names[1])
            case 5:
                path.unlink()
            case 6:
                path.chmod(0o600 + turn % 8)
                os.chown(path, 1000, 1000)
            case 7:
                os.setxattr(path, "user.label", b"%d" % number)
            case 8:
                names.append(path.with_name(f"link {number}"))
                os.link(path, names[1])
            case _:
                names = [path.with_name(f"new {number}")]
                names[0].write_bytes(b"new" * number)
        touched |= {os.fspath(name.relative_to(root)) for name in names}
    return touched


def compared(plain: Path, mount: Mount, status: int = 0) -> list[str]:
    """Names that rsync finds to differ, by every byte and attribute, or to be of one side alone."""
    command = ["rsync", "-aHAXc", "--delete", "--dry-run", "--out-format=%n"]
    said = run([*command, f"{plain}/", f"{mount.path}/"], timeout=PATIENCE, statuses=[status])
    return [line.removeprefix("deleting ") for line in said.stdout.splitlines()]


def is_all_mirrored(mount: Mount) -> bool:
    return bool(mount.status()["flash_only"]["files"] == 0)


@pytest.fixture
def changed(make_mount: MakeMount, scratch: Path) -> tuple[Mount, Path, set[str]]:
    """A volume with a backup, changes behind it, all mirrored; and a plain copy of what it has."""
    mount = make_mount.formatted()
    (scratch / "policy.yaml").write_text("version: 1\nmirror: async\n")
    mount.configure("policy", os.fspath(scratch / "policy.yaml"))
    mount.mount()
    make(mount.path)
    os.sync()
    wait_until(lambda: is_all_mirrored(mount), what="all is mirrored", timeout=PATIENCE)
    mount.back_up()
    touched = change(mount.path)
    run(["sync", "-f", mount.path])
    wait_until(lambda: is_all_mirrored(mount), what="all is mirrored", timeout=PATIENCE)
    plain = scratch / "plain"
    run(["rsync", "-aHAX", f"{mount.path}/", f"{plain}/"], timeout=PATIENCE)
    mount.unmount()
    return mount, plain, touched


def brought_back(mount: Mount, verb: str, *arguments: Path, status: int = 0) -> dict[str, Any]:
    said = tierfs(
        verb, "--json", mount.volume_file, *arguments, statuses=[status], timeout=PATIENCE
    )
    report: dict[str, Any] = json.loads(said)
    mount.log.allow("object is missing|its disk object ends at byte")
    return report


def test_the_index_is_lost(changed: tuple[Mount, Path, set[str]]) -> None:
    mount, plain, _ = changed
    for each in mount.flash.glob("index.db*"):
        each.unlink()
    report = brought_back(mount, "restore")
    assert (report["missing"], report["found"], report["files"]) == (0, 0, [])
    mount.mount()
    assert compared(plain, mount) == []
    mount.unmount()
    assert_clean(mount.volume_file)


def test_flash_is_lost(changed: tuple[Mount, Path, set[str]], scratch: Path) -> None:
    mount, plain, _ = changed
    shutil.rmtree(mount.flash)
    mount.flash = scratch / "new"
    mount.flash.mkdir(0o755)
    report = brought_back(mount, "replace-flash", mount.flash)
    assert (report["missing"], report["files"]) == (0, [])
    mount.mount()
    assert compared(plain, mount) == []
    mount.unmount()
    assert_clean(mount.volume_file)


def test_flash_and_the_copy_of_the_feed_are_lost(
    changed: tuple[Mount, Path, set[str]], scratch: Path
) -> None:
    """What was not changed behind the backup is there; what of it has no bytes is named."""
    mount, plain, touched = changed
    shutil.rmtree(mount.flash)
    for each in (mount.disk / "backup").glob("feed-*"):
        each.unlink()
    mount.flash = scratch / "new"
    mount.flash.mkdir(0o755)
    report = brought_back(mount, "replace-flash", mount.flash, status=ExitCode.DAMAGE)
    named = {file["path"].removeprefix("/") for file in report["files"]}
    assert named
    assert named <= touched
    mount.mount()
    for name in named:
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / name).read_bytes()
        (mount.path / name).unlink()
    differ = {name for name in compared(plain, mount) if not name.endswith("/")}
    assert {name for name in differ if not name.startswith("lost+found/")} <= touched
    mount.unmount()
    assert_clean(mount.volume_file)
