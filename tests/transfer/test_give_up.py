"""``tierfs export`` of a volume that nobody has mounted, and ``--give-up``, which ends it."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from tests.fs.adopting import adopt, paths
from tests.fs.calls import make
from tests.fs.consistency import check
from tests.support.faulty_os import Killed, Moment, Point
from tests.support.fixtures import MakeMount
from tests.support.loop_devices import loop_filesystem
from tests.support.mounting import tierfs
from tests.support.proc import run
from tests.support.trees import Entry, differences, make_tree, snapshot
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.common.errors import ExitCode, VolumeEnded, VolumeRefused
from tierfs.common.tree_report import Report
from tierfs.fs.volume import remove_ended
from tierfs.transfer.from_volume import VolumeExport

FILES = 40


@pytest.fixture
def filled(make_volume: MakeVolume, home: Path, tmp_path: Path) -> LooseVolume:
    """Files of every kind: copied, with heads on flash, mirrored, adopted, and changed since."""
    volume = make_volume()
    elsewhere = tmp_path / "tree"
    elsewhere.mkdir()
    make_tree(elsewhere, files=FILES)
    adopt(volume, elsewhere)
    shared = home / "originals"
    shared.mkdir()
    for number in range(4):
        (shared / f"shared-{number}").write_bytes(bytes([number + 1]) * 9000)
    adopt(volume, shared)
    for number, head in enumerate((4096, 1 << 40)):
        ino = volume.find(b"shared-%d" % (2 + number)).ino
        volume.fs.migrator.place(ino, head, keep_mirror=True, paced=lambda _: None)
    for number in range(6):
        written = make(volume, b"written-%d" % number)
        volume.fs.data.write(written.ino, number * 3000, b"w" * (1 + number * 2000))
    volume.volume.checkpoints.make()
    return volume


def give_up(volume: LooseVolume, target: Path) -> Report:
    """All of it, as the command does."""
    report = VolumeExport(volume.volume, give_up=True).run(b"/", target)
    volume.close()
    if not report.errors:
        remove_ended(volume.settings, target)
    return report


def expected(volume: LooseVolume) -> dict[bytes, tuple[object, ...]]:
    """What a volume holds, but for links and sizes of directories."""
    return {path: _told(row) for path, row in paths(volume).items()}


def _told(row: tuple[object, ...]) -> tuple[object, ...]:
    mode, uid, gid, _, size, rdev, *rest = row
    assert isinstance(mode, int)
    return (mode, uid, gid, 0 if stat.S_ISDIR(mode) else size, rdev, *rest)


def found_in(tree: Path) -> dict[bytes, tuple[object, ...]]:
    """The same of a plain tree."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
        target = os.fsencode(path.readlink()) if path.is_symlink() else None
        found[b"/" + os.fsencode(path.relative_to(tree))] = (
            *(status.st_mode, status.st_uid, status.st_gid),
            0 if path.is_dir() and target is None else status.st_size,
            *(status.st_rdev, status.st_mtime_ns, target),
            path.read_bytes() if stat.S_ISREG(status.st_mode) else b"",
            tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
        )
    return found


def test_all_of_a_volume_is_in_the_target_and_the_volume_has_ended(
    filled: LooseVolume, home: Path
) -> None:
    wanted, out = expected(filled), home / "out"
    report = give_up(filled, out)
    assert report.problems == []
    assert report.copied_bytes == 0
    assert report.linked > FILES // 2
    assert found_in(out) == wanted
    assert report.links == 1
    assert sorted(os.listdir(filled.settings.disk)) == [".tierfs"]
    assert sorted(os.listdir(filled.settings.flash)) == [".tierfs"]
    with pytest.raises(VolumeEnded, match=r"was given up by .* its files are in"):
        filled.open()


def test_elsewhere_the_bytes_are_copied(filled: LooseVolume, tmp_path: Path) -> None:
    wanted, out = expected(filled), tmp_path / "out"
    report = give_up(filled, out)
    assert (report.problems, report.linked) == ([], 0)
    assert found_in(out) == wanted
    sparse = (out / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size


def test_a_volume_that_is_only_read_stays(filled: LooseVolume, home: Path) -> None:
    wanted = expected(filled)
    filled.close()
    filled.read_only = True
    filled.open()
    report = VolumeExport(filled.volume).run(b"/", home / "out")
    assert (report.problems, report.linked) == ([], 0)
    assert found_in(home / "out") == wanted
    again = VolumeExport(filled.volume).run(b"/", home / "out")
    assert (again.copied, again.others) == (0, 0)
    below = VolumeExport(filled.volume).run(b"folder-0", home / "below")
    assert below.problems == []
    assert found_in(home / "below").keys() == {
        path.removeprefix(b"/folder-0") for path in wanted if path.startswith(b"/folder-0/")
    }
    filled.reopen()
    assert expected(filled) == wanted


def test_an_original_keeps_what_the_volume_has_changed(filled: LooseVolume, home: Path) -> None:
    """An object with a name of somebody else is linked only where nothing of it changes."""
    originals = home / "originals"
    before = snapshot(originals)
    filled.fs.xattrs.set(filled.find(b"shared-1").ino, b"user.new", b"value")
    wanted = expected(filled)
    give_up(filled, home / "out")
    assert found_in(home / "out") == wanted
    assert os.path.samefile(originals / "shared-0", home / "out" / "shared-0")
    assert not os.path.samefile(originals / "shared-1", home / "out" / "shared-1")
    assert _unlinked(snapshot(originals)) == _unlinked(before)


def _unlinked(found: dict[bytes, Entry]) -> list[tuple[object, ...]]:
    return [(name, each.mode, each.content, each.xattrs) for name, each in found.items()]


LABELS = (
    *("disk.attributes", "disk.link_out", "disk.sync_target", "disk.mark", "flash.mark"),
    *("disk.open", "disk.pwrite", "disk.fdatasync", "disk.syncfs", "index.commit", "index.sync"),
)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("label", LABELS)
def test_killed_anywhere_and_begun_again_it_is_as_one_run(
    filled: LooseVolume, home: Path, label: str, moment: Moment
) -> None:
    wanted, out = expected(filled), home / "out"
    ended = False
    for nth in (0, 1, 7):
        filled.os.clear()
        filled.os.kill(Point(label, nth), moment, lambda: None)
        try:
            give_up(filled, out)
            ended = True
        except Killed:
            filled.abandon()
            filled.os.dead = False
            filled.os.clear()
        try:
            filled.open()
        except VolumeEnded:
            ended = True
            break
        assert not ended
        check(filled)
        assert expected(filled) == wanted
    if ended:
        remove_ended(filled.settings, out)
    else:
        filled.os.clear()
        assert give_up(filled, out).problems == []
    assert found_in(out) == wanted
    assert sorted(os.listdir(filled.settings.disk)) == [".tierfs"]
    with pytest.raises(VolumeEnded):
        filled.open()


@pytest.mark.parametrize("label", ["disk.attributes", "disk.link_out"])
def test_a_file_that_cannot_be_brought_keeps_the_volume(
    filled: LooseVolume, home: Path, label: str
) -> None:
    wanted = expected(filled)
    filled.os.clear()
    filled.os.fail(Point(label, 3), errno.EIO)
    report = give_up(filled, home / "out")
    assert (report.errors, len(report.problems)) == (1, 1)
    filled.open()
    check(filled)
    assert expected(filled) == wanted
    assert give_up(filled, home / "out").problems == []
    assert found_in(home / "out") == wanted


def test_a_full_target_ends_the_run_and_not_the_volume(filled: LooseVolume, home: Path) -> None:
    filled.os.clear()
    filled.os.fail(Point("disk.link_out", 3), errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        give_up(filled, home / "out")
    assert give_up(filled, home / "out").problems == []


def test_what_has_not_ended_is_not_removed(filled: LooseVolume, home: Path) -> None:
    filled.close()
    with pytest.raises(VolumeRefused, match="has not ended"):
        remove_ended(filled.settings, home / "out")
    filled.open()
    give_up(filled, home / "out")
    with pytest.raises(VolumeEnded):
        remove_ended(filled.settings, home / "another")


def test_the_command_gives_a_volume_up(make_mount: MakeMount, scratch: Path) -> None:
    mounted = make_mount()
    make_tree(mounted.path, files=120)
    plain, out = scratch / "plain", scratch / "out"
    run(["cp", "-a", mounted.path, plain])
    said = tierfs("export", "--give-up", mounted.path, out, statuses=[ExitCode.USAGE])
    assert "is for a volume that is not mounted" in said
    volume = ("--volume", mounted.volume_file)
    said = tierfs("export", *volume, "--give-up", out, statuses=[ExitCode.VOLUME_BUSY])
    assert f"is mounted on {mounted.path}: unmount it first" in said
    mounted.unmount()
    report = json.loads(tierfs("export", *volume, "--json", scratch / "copy"))
    assert (report["errors"], report["linked"]) == (0, 0)
    report = json.loads(tierfs("export", *volume, "--give-up", "--json", out))
    assert (report["errors"], report["copied_bytes"]) == (0, 0)
    for tree in (out, scratch / "copy"):
        assert differences(snapshot(plain), snapshot(tree)) == []
        found = run(["rsync", "-aHAXc", "--dry-run", "--itemize-changes", f"{plain}/", f"{tree}/"])
        assert found.stdout == ""
    said = tierfs("fsck", mounted.volume_file, statuses=[ExitCode.VOLUME_REFUSED])
    assert f"its files are in {out}" in said
    said = tierfs("mount", mounted.volume_file, mounted.path, statuses=[ExitCode.VOLUME_REFUSED])
    assert "To use the directory for another volume, empty it" in said
    tierfs("export", *volume, "--give-up", out)  # nothing is left to do
    tierfs("export", *volume, out, statuses=[ExitCode.VOLUME_REFUSED])


def test_an_unmounted_volume_shares_its_blocks(make_volume: MakeVolume, scratch: Path) -> None:
    with loop_filesystem(scratch / "xfs", "xfs") as path:
        volume = make_volume()
        volume.close()
        moved = volume.copy(path / "moved")
        moved.open()
        ino = make(moved, b"large").ino
        moved.fs.data.write(ino, 0, os.urandom(1 << 20))
        moved.fs.migrator.place(ino, 0, keep_mirror=True, paced=lambda _: None)
        report = VolumeExport(moved.volume).run(b"/", path / "out")
        assert (report.shared, report.copied, report.problems) == (1, 0, [])
        assert (path / "out" / "large").read_bytes() == moved.fs.reads.read(ino, 0, 1 << 20)
        moved.close()
