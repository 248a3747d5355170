"""``tierfs export``: what comes out equals the mount, however often it was interrupted."""

from __future__ import annotations

import errno
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest
import xattr

from tests.support.filesystems import memory_filesystem
from tests.support.fixtures import MakeMount
from tests.support.loop_devices import loop_filesystem
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, start
from tests.support.trees import differences, make_tree, snapshot
from tierfs.common.errors import ExitCode
from tierfs.transfer import copying
from tierfs.transfer.copying import TEMPORARY
from tierfs.transfer.export import Export, Found
from tierfs.transfer.filling import Directory

pytestmark = pytest.mark.long

MIB = 1 << 20
FILES = 120


def assert_equal(source: Path, target: Path) -> None:
    """As this test sees it, and as rsync does."""
    assert differences(snapshot(source), snapshot(target)) == []
    said = run(["rsync", "-aHAXc", "--dry-run", "--itemize-changes", f"{source}/", f"{target}/"])
    assert said.stdout == ""


@pytest.fixture
def plain(scratch: Path) -> Path:
    """A tree in a plain directory."""
    path = scratch / "plain"
    path.mkdir()
    make_tree(path, files=FILES)
    return path


def test_a_tree_comes_out_as_it_is_in_the_mount(mounted: Mount, scratch: Path) -> None:
    make_tree(mounted.path, files=FILES)
    said = tierfs("export", mounted.path, scratch / "out")
    assert said.startswith(f"exported {FILES + 1} files, ")
    assert_equal(mounted.path, scratch / "out")


def test_names_of_one_symbolic_link_stay_names_of_one(mounted: Mount, scratch: Path) -> None:
    (mounted.path / "one").symlink_to("nowhere")
    os.link(mounted.path / "one", mounted.path / "other", follow_symlinks=False)
    for _ in range(2):
        tierfs("export", mounted.path, scratch / "out")
        assert_equal(mounted.path, scratch / "out")


def test_a_second_run_copies_only_what_changed(mounted: Mount, scratch: Path) -> None:
    make_tree(mounted.path, files=FILES)
    out = scratch / "out"
    tierfs("export", mounted.path, out)
    (mounted.path / "plain-0").write_bytes(b"new")
    os.setxattr(mounted.path / "sparse", "user.label", b"only an attribute")
    (out / "of somebody else").write_bytes(b"stays")
    report = json.loads(tierfs("export", "--json", mounted.path, out))
    assert (report["copied"], report["links"], report["errors"]) == (1, 1, 0)
    assert report["present"] >= FILES
    assert (out / "of somebody else").read_bytes() == b"stays"
    (out / "of somebody else").unlink()
    os.utime(out, ns=(0, mounted.path.stat().st_mtime_ns))
    assert_equal(mounted.path, out)


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_goes_on(mounted: Mount, scratch: Path) -> None:
    make_tree(mounted.path, files=500)
    out = scratch / "out"
    chance = random.Random(3)
    for _ in range(4):
        export = start([sys.executable, "-m", "tierfs", "export", mounted.path, out])
        time.sleep(0.3 + chance.random() * 0.5)
        export.kill()
        export.communicate()
        for path in out.rglob("*"):  # nothing has its name before it is whole
            source = mounted.path / path.relative_to(out)
            if path.is_file() and not path.is_symlink() and TEMPORARY not in os.fsencode(path.name):
                assert path.read_bytes() == source.read_bytes()
    assert json.loads(tierfs("export", "--json", mounted.path, out))["errors"] == 0
    assert_equal(mounted.path, out)


def test_files_share_blocks_with_the_disk_tier(make_mount: MakeMount, scratch: Path) -> None:
    with loop_filesystem(scratch / "xfs", "xfs") as path:
        (path / "disk").mkdir()
        mount = make_mount(disk=path / "disk")
        for number in range(4):
            (mount.path / f"{number}").write_bytes(os.urandom(8 * MIB + number))
        tierfs("demote", "--wait", *[mount.path / f"{number}" for number in range(3)])
        os.sync()
        before = os.statvfs(path)
        report = json.loads(tierfs("export", "--json", mount.path, path / "out"))
        after = os.statvfs(path)
        assert (report["copied"], report["shared"], report["errors"]) == (1, 3, 0)
        assert (before.f_bfree - after.f_bfree) * after.f_frsize < 10 * MIB
        assert_equal(mount.path, path / "out")
        mount.unmount()


@pytest.mark.parametrize("below", ["", "below"])
def test_a_target_in_the_tree_is_refused(mounted: Mount, below: str) -> None:
    said = tierfs("export", mounted.path, mounted.path / below, statuses=[ExitCode.USAGE])
    assert "one must not lie in the other" in said


def test_what_is_in_no_mount_is_refused(scratch: Path) -> None:
    said = tierfs("export", scratch, scratch / "out", statuses=[ExitCode.NOT_MOUNTED])
    assert "is not in a tierfs mount" in said
    assert not (scratch / "out").exists()


def test_a_full_target_ends_the_run_and_more_room_completes_it(
    mounted: Mount, scratch: Path
) -> None:
    for number in range(6):
        (mounted.path / f"{number}").write_bytes(os.urandom(MIB))
    with memory_filesystem(scratch / "small", 3) as small:
        said = tierfs("export", mounted.path, small, statuses=[ExitCode.UNEXPECTED])
        assert "No space left on device" in said
        assert "Traceback" not in said
        assert not [name for name in os.listdir(small) if name.startswith(".tierfs")]
        run(["mount", "-o", "remount,size=16m", small])
        tierfs("export", mounted.path, small)
        assert_equal(mounted.path, small)


def test_a_file_that_changes_each_time_is_reported(
    plain: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copying.copy_attributes

    def change(source: int | bytes, target: int | bytes, status: os.stat_result) -> tuple[str, ...]:
        if status.st_size == 5:
            with (plain / "busy").open("ab") as file:
                file.write(b"")
            os.utime(plain / "busy")
        return copy(source, target, status)

    (plain / "busy").write_bytes(b"12345")
    monkeypatch.setattr(copying, "copy_attributes", change)
    report = Export().run(plain, scratch / "out")
    assert report.problems == [(b"busy", "it changed each time while it was copied; export again")]
    assert not (scratch / "out" / "busy").exists()
    assert report.copied == FILES + 1


def test_bytes_are_copied_where_the_kernel_cannot(
    plain: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    assert Export().run(plain, scratch / "out").errors == 0
    assert_equal(plain, scratch / "out")
    sparse = (scratch / "out" / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size


def test_an_attribute_that_the_target_does_not_take_is_named(
    plain: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(xattr.xattr):  # type: ignore[misc]
        def set(self, name: str, value: bytes, options: int = 0) -> None:
            if name == "user.bytes":
                raise OSError(errno.EOPNOTSUPP, "no")
            super().set(name, value, options)

    monkeypatch.setattr(xattr, "xattr", Refusing)
    report = Export().run(plain, scratch / "out")
    assert report.errors == len([1 for number in range(FILES) if number % 3 == 0])
    assert report.problems[0][1] == "the target does not take user.bytes"


def test_a_directory_that_cannot_be_read_is_reported_and_the_others_are_copied(
    plain: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Export._listed

    def refuse(self: Export, directory: Directory[Found]) -> object:
        if directory.path == b"folder-1":
            raise OSError(errno.EIO, "Input/output error")
        return listed(self, directory)

    monkeypatch.setattr(Export, "_listed", refuse)
    report = Export().run(plain, scratch / "out")
    assert report.problems == [(b"folder-1", "Input/output error")]
    assert (scratch / "out" / "plain-0").exists()
