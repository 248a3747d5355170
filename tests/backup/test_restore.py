"""An index, or flash, that is lost: what ``restore`` and ``replace-flash`` bring back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, wait_until
from tests.support.trees import Entry, differences, make_tree, snapshot
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.long

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
    mount.back_up()
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
    mount.back_up()
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
    mount.back_up()
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
    mount.back_up()
    where = f"the volume is mounted on {mount.path}: unmount it first"
    for verb in ("restore", "fsck", "new-uuid", "dump"):
        assert where in tierfs(verb, mount.volume_file, statuses=[ExitCode.VOLUME_BUSY])
    out = mount.path.parent / "out"
    export = ("export", "--volume", mount.volume_file, out)
    assert where in tierfs(*export, statuses=[ExitCode.VOLUME_BUSY])
    mount.unmount()
    said = tierfs("restore", mount.volume_file, statuses=[ExitCode.VOLUME_REFUSED])
    assert "there is an index" in said


def test_a_damaged_backup_is_told_of_and_an_older_one_can_be_chosen(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "file").write_bytes(b"bytes")
    mount.back_up()
    (mount.path / "file").rename(mount.path / "renamed")
    mount.back_up()
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


def set_mirroring(mount: Mount, how: str) -> None:
    (mount.volume_file.parent / "policy.yaml").write_text(f"version: 1\nmirror: {how}\n")
    if mount.is_mounted():
        tierfs("policy", "apply", mount.path)


def wait_for_mirror(path: Path) -> None:
    wait_until(lambda: os.getxattr(path, "tierfs.mirrored") == b"yes", what="it is mirrored")


def lose_feed(mount: Mount) -> None:
    for each in (mount.disk / "backup").glob("feed-*"):
        each.unlink()


@pytest.fixture
def governed(make_mount: MakeMount) -> Mount:
    """A mount whose policy says which files are mirrored: none yet."""
    mount = make_mount.formatted()
    set_mirroring(mount, "never")
    mount.configure("policy", "policy.yaml")
    mount.mount()
    return mount


def test_a_mirror_that_is_older_than_its_head_is_none_after_a_restore(governed: Mount) -> None:
    """The copy of the feed is lost, and with it that the head was changed after it was mirrored."""
    path = governed.path / "file"
    path.write_bytes(b"old" * 50_000)
    os.sync()
    set_mirroring(governed, "async")
    wait_for_mirror(path)
    wait_until(
        lambda: governed.status()["backup"]["last_s"], what="the daemon's backup", timeout=60
    )
    governed.back_up()
    set_mirroring(governed, "never")
    with path.open("r+b") as file:
        file.write(b"new" * 1000)
    governed.unmount()
    lose_index(governed)
    lose_feed(governed)
    restored(governed)
    governed.mount()
    tierfs("demote", "--wait", path)
    assert path.read_bytes() == b"new" * 1000 + b"old" * 49_000


def test_flash_and_the_copy_of_the_feed_are_lost(governed: Mount, scratch: Path) -> None:
    """What was mirrored after the backup is there; where a part may be older there is EIO."""
    contents = {"small": b"small" * 1000, "grown": b"grown" * 2000, "large": b"large" * 30_000}
    for name, content in contents.items():
        (governed.path / name).write_bytes(content[: len(content) // 2])
    (governed.path / "large").write_bytes(contents["large"])
    (governed.path / "small").write_bytes(contents["small"])
    os.sync()
    governed.back_up()
    (governed.path / "grown").write_bytes(contents["grown"])
    set_mirroring(governed, "async")
    for name in contents:
        wait_for_mirror(governed.path / name)
    governed.unmount()
    shutil.rmtree(governed.flash)
    lose_feed(governed)
    new = scratch / "new"
    new.mkdir(0o755)
    said = tierfs("replace-flash", "--json", governed.volume_file, new, statuses=[ExitCode.DAMAGE])
    assert [file["path"] for file in json.loads(said)["files"]] == ["/large"]
    governed.flash = new
    governed.log.allow("object is missing")
    governed.mount()
    for name in ("small", "grown"):
        assert (governed.path / name).read_bytes() == contents[name]
    with pytest.raises(OSError, match="Input/output"):
        (governed.path / "large").read_bytes()


def originals(index: Path) -> list[tuple[object, ...]]:
    """What an index that nobody has open knows of the originals of adopted files."""
    with closing(sqlite3.connect(index)) as connection:
        return connection.execute("SELECT * FROM adopted ORDER BY ino").fetchall()


def test_a_tree_that_was_adopted_after_the_backup_comes_back(
    make_mount: MakeMount, scratch: Path
) -> None:
    """With its originals: what their owner changed meanwhile is told, and never half of it."""
    tree = scratch / "tree"
    tree.mkdir()
    make_tree(tree, files=FILES)
    for number in range(3):
        (tree / f"original-{number}").write_bytes(b"%d" % number * 300_000)
    mount = make_mount()
    (mount.path / "before").touch()
    mount.back_up()
    tierfs("adopt", tree, mount.path)
    (mount.path / "before").unlink()
    with (mount.path / "original-0").open("r+b") as file:
        file.write(b"copied up")
        file.flush()
        os.fsync(file.fileno())  # else its time is the object's after an unclean end
    (mount.path / "original-1").unlink()
    os.sync()
    wait_until(lambda: copied(mount), what="the feed is copied")
    before = snapshot(mount.path)
    run(["rsync", "-aHAX", f"{mount.path}/", f"{scratch / 'plain'}/"])
    mount.kill()
    known = mount.flash / "index.db"
    shutil.copytree(mount.flash, scratch / "flash")
    wanted = originals(scratch / "flash" / known.name)
    lose_index(mount)
    kept = (tree / "original-2").stat()
    with (tree / "original-2").open("r+b") as file:
        file.write(b"its owner's")
    report = restored(mount)
    assert (report["missing"], report["found"], report["files"]) == (0, 0, [])
    assert originals(known) == wanted
    assert len(wanted) > FILES // 2
    mount.log.allow("changed outside of the volume")
    mount.mount()
    with pytest.raises(OSError, match="Input/output"):
        (mount.path / "original-2").read_bytes()
    with (tree / "original-2").open("r+b") as file:
        file.write(b"2" * 11)
    os.utime(tree / "original-2", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert_same(before, mount, scratch / "plain")
    mount.unmount()
    assert_clean(mount.volume_file)


def test_adopted_files_that_were_copied_up_after_the_last_known_change(
    make_mount: MakeMount, scratch: Path
) -> None:
    """The copy of the feed is lost: the disk objects are no originals any more, and are whole."""
    tree = scratch / "tree"
    tree.mkdir()
    for name in ("kept", "changed", "grown", "longer"):
        (tree / name).write_bytes(name.encode() * 50_000)
    mount = make_mount()
    tierfs("adopt", tree, mount.path)
    mount.back_up()
    with (mount.path / "changed").open("r+b") as file:
        file.write(b"CHANGED")
    with (mount.path / "grown").open("ab") as file:
        file.write(b"more" * 1000)
    os.sync()
    contents = {name: (mount.path / name).read_bytes() for name in ("kept", "changed", "grown")}
    mount.unmount()
    lose_index(mount)
    lose_feed(mount)
    with (tree / "longer").open("ab") as file:
        file.write(b"its owner's")
    before = snapshot(tree)
    assert restored(mount)["missing"] == 0
    mount.log.allow("changed outside of the volume")
    mount.mount()
    assert {name: (mount.path / name).read_bytes() for name in contents} == contents
    with pytest.raises(OSError, match="Input/output"):
        (mount.path / "longer").read_bytes()
    assert (mount.path / "longer").stat().st_size == 300_000
    tierfs("adopt", "--refresh", mount.path)
    assert (mount.path / "longer").read_bytes() == (tree / "longer").read_bytes()
    mount.unmount()
    assert snapshot(tree) == before
    assert_clean(mount.volume_file)


def test_after_an_unmount_it_is_told_that_every_change_is_known(make_mount: MakeMount) -> None:
    mount = make_mount()
    mount.back_up()
    (mount.path / "file").write_bytes(b"bytes")
    mount.unmount()
    lose_index(mount)
    said = tierfs("restore", mount.volume_file)
    assert "every change up to 20" in said
    assert "no bytes are missing" in said
    assert "not known" not in said
