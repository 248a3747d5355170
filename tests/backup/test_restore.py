"""An index, or flash, that is lost: what ``restore`` and ``replace-flash`` bring back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until
from tests.support.trees import Entry, differences, make_tree, snapshot
from tierfs.common.errors import ExitCode

FILES = 120


def backups(mount: Mount) -> list[Path]:
    return sorted((mount.disk / "backup").glob("index-*.zst"))


def change(path: Path) -> None:
    """Changes of every kind, behind a backup."""
    make_tree(path / "later", files=40, seed=2)
    for number, each in enumerate(sorted(path.glob("plain-*"))):
        if number % 3 == 0:
            each.rename(each.with_name(f"renamed-{number}"))
        elif number % 3 == 1:
            each.unlink()
        else:
            with each.open("ab") as file:
                file.write(b"more" * 30_000)
            os.setxattr(each, "user.label", b"%d" % number)
            each.chmod(0o604)


def assert_same(before: dict[bytes, Entry], mount: Mount, source: Path) -> None:
    assert differences(before, snapshot(mount.path)) == []
    said = run(["rsync", "-aHAXc", "--dry-run", "-i", f"{source}/", f"{mount.path}/"])
    assert said.stdout == ""


def lose_index(mount: Mount) -> None:
    for each in mount.flash.glob("index.db*"):
        each.unlink()


def copied(mount: Mount) -> bool:
    """Whether the feed's copy has every change so far."""
    return bool(mount.status()["backup"]["behind"] == 0)


def restored(mount: Mount, *arguments: str, status: int = 0) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        tierfs("restore", "--json", *arguments, mount.volume_file, statuses=[status])
    )
    return report


def test_the_daemon_makes_a_first_backup_by_itself(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "file").write_bytes(b"bytes")
    wait_until(lambda: bool(backups(mount)), what="a backup is there", timeout=60)
    shown = json.loads(tierfs("backup", "--list", "--json", mount.volume_file))
    assert [row["path"] for row in shown["backups"]] == [str(backups(mount)[0])]
    assert mount.status()["backup"]["last_s"] > 0


@pytest.mark.parametrize("end", ["unmount", "kill"])
def test_an_index_that_is_lost_comes_back_with_every_change(
    make_mount: MakeMount, scratch: Path, end: str
) -> None:
    mount = make_mount()
    make_tree(mount.path, files=FILES)
    tierfs("backup", mount.volume_file)
    change(mount.path)
    run(["sync", "-f", mount.path])
    before = snapshot(mount.path)
    run(["rsync", "-aHAX", f"{mount.path}/", f"{scratch / 'plain'}/"])
    if end == "kill":
        wait_until(lambda: copied(mount), what="the feed is copied")
        mount.kill()
    else:
        mount.unmount()
    lose_index(mount)
    report = restored(mount)
    assert (report["missing"], report["found"], report["files"]) == (0, 0, [])
    assert report["changes"] > 0
    mount.mount()
    assert_same(before, mount, scratch / "plain")
    mount.unmount()
    assert_clean(mount.volume_file)


def test_without_the_copied_changes_the_backup_comes_back(make_mount: MakeMount) -> None:
    mount = make_mount()
    for number in range(30):
        (mount.path / f"{number}").write_bytes(b"%d" % number * 50_000)
    tierfs("backup", mount.volume_file)
    before = snapshot(mount.path)
    (mount.path / "later").write_bytes(b"later" * 100)
    (mount.path / "29").unlink()
    mount.unmount()
    lose_index(mount)
    for each in (mount.disk / "backup").glob("feed-*"):
        each.unlink()
    mount.log.allow("object is missing")
    report = restored(mount, status=ExitCode.DAMAGE)
    assert [file["path"] for file in report["files"]] == ["/29"]
    assert report["found"] == 1
    mount.mount()
    with pytest.raises(OSError, match="Input/output"):
        (mount.path / "29").read_bytes()
    (found,) = (mount.path / "lost+found").iterdir()
    assert found.read_bytes() == b"later" * 100
    found.unlink()
    (mount.path / "lost+found").rmdir()
    (mount.path / "29").unlink()
    after = snapshot(mount.path)
    assert {name: entry for name, entry in before.items() if name not in {b".", b"29"}} == {
        name: entry for name, entry in after.items() if name != b"."
    }


def test_flash_that_is_lost_costs_only_what_it_alone_had(
    make_mount: MakeMount, scratch: Path
) -> None:
    policy = scratch / "policy.yaml"
    policy.write_text(
        "version: 1\nmirror: async\nrules:\n"
        "  - {name: alone, match: {path: '/alone/**'}, mirror: never}\n"
    )
    mount = make_mount.formatted()
    mount.configure("policy", str(policy))
    mount.mount()
    for directory in ("alone", "mirrored", "evicted"):
        (mount.path / directory).mkdir()
        for number in range(20):
            (mount.path / directory / f"{number}").write_bytes(os.urandom(2_000 * number + 1))
            os.setxattr(mount.path / directory / f"{number}", "user.label", b"%d" % number)
    (mount.path / "alone" / "large").write_bytes(os.urandom(200_000))
    (mount.path / "alone" / "empty").touch()
    os.sync()
    tierfs("backup", mount.volume_file)
    tierfs("demote", "--wait", *(mount.path / "evicted").iterdir())
    wait_until(
        lambda: mount.status()["flash_only"]["files"] == 21, what="all else is mirrored", timeout=60
    )
    before = snapshot(mount.path)
    mount.unmount()
    shutil.rmtree(mount.flash)
    new = scratch / "new"
    new.mkdir(0o755)
    said = tierfs("replace-flash", "--json", mount.volume_file, new, statuses=[ExitCode.DAMAGE])
    report = json.loads(said)
    lost = {file["path"] for file in report["files"]}
    assert lost == {f"/alone/{name}" for name in [*range(20), "large"]}
    mount.flash = new
    mount.log.allow("object is missing")
    mount.mount()
    for path in lost:
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / path[1:]).read_bytes()
        (mount.path / path[1:]).unlink()
    after = snapshot(mount.path)
    gone = {os.fsencode(path[1:]) for path in lost} | {b"alone"}
    assert {name: entry for name, entry in before.items() if name not in gone} == {
        name: entry for name, entry in after.items() if name != b"alone"
    }
    mount.unmount()
    assert_clean(mount.volume_file)


def test_without_any_backup_the_files_come_back_by_number(make_mount: MakeMount) -> None:
    mount = make_mount()
    contents = {os.urandom(size) for size in (1, 5_000, 65_536, 65_537, 300_000)}
    for number, content in enumerate(contents):
        (mount.path / f"{number}").write_bytes(content)
    tierfs("demote", "--wait", mount.path / "4")
    mount.unmount()
    lose_index(mount)
    shutil.rmtree(mount.disk / "backup", ignore_errors=True)
    assert "no backup" in tierfs("restore", mount.volume_file, statuses=[ExitCode.VOLUME_REFUSED])
    report = restored(mount, "--from-objects")
    assert (report["found"], report["missing"]) == (5, 0)
    mount.mount()
    assert {path.read_bytes() for path in (mount.path / "lost+found").iterdir()} == contents
    mount.unmount()
    assert_clean(mount.volume_file)


def test_an_index_that_is_there_is_not_replaced(make_mount: MakeMount) -> None:
    mount = make_mount()
    tierfs("backup", mount.volume_file)
    assert "in use" in tierfs("restore", mount.volume_file, statuses=[ExitCode.VOLUME_BUSY])
    mount.unmount()
    said = tierfs("restore", mount.volume_file, statuses=[ExitCode.VOLUME_REFUSED])
    assert "there is an index" in said


def test_a_damaged_backup_is_told_of_and_an_older_one_can_be_chosen(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "file").write_bytes(b"bytes")
    tierfs("backup", mount.volume_file)
    (mount.path / "file").rename(mount.path / "renamed")
    tierfs("backup", mount.volume_file)
    mount.unmount()
    lose_index(mount)
    older, newer = backups(mount)
    with newer.open("r+b") as file:
        file.seek(newer.stat().st_size // 2)
        file.write(b"damage")
    said = tierfs("restore", mount.volume_file, statuses=[ExitCode.DAMAGE])
    assert f"{newer}: the backup" in said
    assert not (mount.flash / "index.db").exists()
    assert restored(mount, "--backup", str(older))["missing"] == 0
    mount.mount()
    assert (mount.path / "renamed").read_bytes() == b"bytes"
