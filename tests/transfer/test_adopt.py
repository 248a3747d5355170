"""``tierfs adopt``: a tree is in the mount, its bytes stay where they are, and stay its owner's."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount, both_ways
from tests.support.mounting import Mount, tierfs
from tests.support.proc import run, start
from tests.support.trees import Entry, differences, make_tree, snapshot
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.long

FILES = 120


def shown(found: dict[bytes, Entry]) -> dict[bytes, tuple[object, ...]]:
    """What a snapshot says, but for link counts: an original has one more than in the mount."""
    return {
        path: (
            each.kind,
            each.mode,
            each.owner,
            each.size,
            each.modified_ns,
            each.content,
            each.xattrs,
        )
        for path, each in found.items()
    }


def assert_equal(source: Path, target: Path) -> None:
    """As this test sees it, and as rsync does."""
    assert shown(snapshot(source)) == shown(snapshot(target))
    said = run(["rsync", "-aHAXc", "--dry-run", "--itemize-changes", f"{source}/", f"{target}/"])
    assert said.stdout == ""


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    return make_mount()


@pytest.fixture
def tree(scratch: Path) -> Path:
    """A tree on the filesystem of the disk directory."""
    path = scratch / "tree"
    path.mkdir()
    make_tree(path, files=FILES)
    return path


@both_ways
def test_a_tree_is_in_the_mount_and_comes_out_again(
    make_mount: MakeMount, tree: Path, scratch: Path, options: tuple[str, ...]
) -> None:
    mount = make_mount(*options)
    for path in tree.rglob("*"):  # the kernel remembers for a day that there is no such name
        assert not os.path.lexists(mount.path / path.relative_to(tree))
    report = json.loads(tierfs("adopt", "--json", tree, mount.path))
    assert (report["copied"], report["errors"]) == (0, 0)
    assert report["linked"] > FILES // 2
    assert_equal(tree, mount.path)
    tierfs("export", mount.path, scratch / "out")
    assert_equal(tree, scratch / "out")
    mount.remount(*options)
    assert_equal(tree, mount.path)


def test_a_tree_goes_below_a_directory(mount: Mount, tree: Path) -> None:
    (mount.path / "a" / "b").mkdir(parents=True)
    tierfs("adopt", "--exclude", "plain-*", "--exclude", "folder-1/*", tree, mount.path / "a" / "b")
    found = snapshot(mount.path / "a" / "b")
    wanted = {
        path: row
        for path, row in shown(snapshot(tree)).items()
        if not path.rpartition(b"/")[2].startswith(b"plain-") and not path.startswith(b"folder-1/")
    }
    assert shown(found) == wanted


def test_the_originals_are_what_they_were_whatever_the_mount_does(mount: Mount, tree: Path) -> None:
    before = snapshot(tree)
    tierfs("adopt", tree, mount.path)
    files = [path for path in mount.path.rglob("*") if path.is_file() and not path.is_symlink()]
    for number, path in enumerate(files):
        with path.open("r+b") as file:
            if number % 3 == 0:
                file.write(b"overwritten")
            elif number % 3 == 1:
                file.truncate(number % 2)
            else:
                file.seek(0, os.SEEK_END)
                file.write(b"appended")
        path.chmod(0o600)
        os.setxattr(path, "user.new", b"value")
        os.utime(path, ns=(1, 2))
    os.sync()
    assert shown(snapshot(tree)) == shown(before)
    shutil.rmtree(mount.path / "folder-0")
    for path in mount.path.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    mount.unmount()
    assert differences(before, snapshot(tree)) == []


@pytest.mark.parametrize("how", ["write", "truncate"])
def test_what_its_owner_changes_is_told_and_never_half_of_it(
    mount: Mount, scratch: Path, how: str
) -> None:
    tree = scratch / "simple"
    tree.mkdir()
    old, new = b"o" * 400_000, b"n" * 400_000
    (tree / "file").write_bytes(old)
    tierfs("adopt", tree, mount.path)
    with (mount.path / "file").open("rb") as file:
        assert file.read(4096) == old[:4096]
    if how == "write":
        with (tree / "file").open("r+b") as file:
            file.write(new)
    else:
        os.truncate(tree / "file", 300_000)
    with (mount.path / "file").open("rb") as file:
        for offset in range(0, 400_000, 4096):
            try:
                data = os.pread(file.fileno(), 4096, offset)
            except OSError as error:
                assert "Input/output error" in str(error)  # noqa: PT017 - either will do
            else:
                assert data == old[: len(data)]
    mount.log.allow("changed outside of the volume")
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / "file").read_bytes()
    said = tierfs("status", mount.path)
    assert "the originals of 1 adopted files were changed" in said
    with (
        (mount.path / "file").open("r+b", buffering=0) as file,
        pytest.raises(OSError, match="Input/output error"),
    ):
        file.write(b"x")
    assert "1 file had changed\n  file" in tierfs("adopt", "--refresh", mount.path)
    assert (mount.path / "file").read_bytes() == (tree / "file").read_bytes()
    assert "0 files had changed" in tierfs("adopt", "--refresh", mount.path)
    assert "adopted files were changed" not in tierfs("status", mount.path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("take", [False, True], ids=["keep", "take"])
def test_killed_and_begun_again_it_is_as_one_run(
    make_mount: MakeMount, scratch: Path, *, take: bool
) -> None:
    """The client is killed; the daemon carries out what it was asked for last."""
    mount, tree, plain = make_mount(), scratch / "tree", scratch / "plain"
    tree.mkdir()
    make_tree(tree, files=1500)
    run(["cp", "-a", tree, plain])
    words = ["adopt", *["--take"] * take, os.fspath(tree), os.fspath(mount.path)]
    chance = random.Random(5)
    for _ in range(4):
        adopt = start([sys.executable, "-m", "tierfs", *words])
        time.sleep(0.4 + chance.random() * 0.6)
        adopt.kill()
        adopt.communicate()
    tierfs(*words)
    assert_equal(plain, mount.path)
    if take:
        assert list(tree.rglob("*")) == []


def test_of_another_filesystem_it_is_a_copy(mount: Mount, tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", tree, elsewhere], check=True)
    report = json.loads(tierfs("adopt", "--json", elsewhere, mount.path))
    assert report["copied"] + report["linked"] > FILES // 2
    assert report["errors"] == 0
    assert_equal(elsewhere, mount.path)


def test_a_volume_that_is_not_mounted_takes_it_too(mount: Mount, tree: Path, scratch: Path) -> None:
    run(["cp", "-a", tree, scratch / "plain"])
    mount.unmount()
    tierfs("adopt", "--take", "--heads", "now", "--volume", mount.volume_file, tree)
    assert list(tree.rglob("*")) == []
    tierfs("fsck", mount.volume_file)
    mount.mount()
    assert_equal(scratch / "plain", mount.path)


def test_what_it_would_do_and_cost_is_told_first(mount: Mount, tree: Path) -> None:
    before = snapshot(mount.path)
    said = tierfs("adopt", "--dry-run", tree, mount.path)
    assert "would be adopted without a copy" in said
    assert "has no reflinks: the first change of a file" in said
    assert "--take nothing is ever copied" in said
    assert snapshot(mount.path) == before
    forecast = json.loads(tierfs("adopt", "--dry-run", "--json", tree, mount.path))
    assert (forecast["copied"], forecast["reflinks"]) == (0, False)
    assert json.loads(tierfs("adopt", "--json", tree, mount.path))["linked"] == forecast["linked"]


def test_the_volume_itself_is_refused(mount: Mount, scratch: Path) -> None:
    disk = Path(json.loads(tierfs("status", "--json", mount.path))["tiers"]["disk"]["directory"])
    for tree in (disk, disk / "objects", mount.path):
        said = tierfs("adopt", tree, mount.path, statuses=[ExitCode.USAGE])
        assert "which is the volume's own" in said
    said = tierfs("adopt", scratch, scratch, statuses=[ExitCode.NOT_MOUNTED])
    assert "is not in a tierfs mount" in said


def test_what_is_there_already_is_told(mount: Mount, scratch: Path) -> None:
    tree = scratch / "simple"
    tree.mkdir()
    (tree / "file").write_bytes(b"original")
    (mount.path / "file").write_bytes(b"another")
    said = tierfs("adopt", tree, mount.path, statuses=[ExitCode.UNEXPECTED])
    assert "file: the volume has something else there" in said
    assert (mount.path / "file").read_bytes() == b"another"


@pytest.mark.parametrize("verb", ["adopt", "export"])
def test_a_quiet_run_prints_problems_only_and_ten_of_them(
    mount: Mount, scratch: Path, verb: str
) -> None:
    tree = scratch / "simple"
    for home in (tree, mount.path):
        home.mkdir(exist_ok=True)
        (home / "good").mkdir()
    for number in range(13):
        # A directory that has the name of a file on the other side.
        (tree / f"{number}").write_bytes(b"file")
        (mount.path / f"{number}").mkdir()
    words = (tree, mount.path) if verb == "adopt" else (mount.path, tree)
    program = [sys.executable, "-m", "tierfs", verb]
    done = run([*program, "--quiet", *words], statuses=[ExitCode.UNEXPECTED])
    assert done.stdout == ""
    *lines, rest = done.stderr.splitlines()
    assert len(lines) == 10
    assert all(re.match(r"tierfs: \d+: ", line) for line in lines)
    assert rest == "tierfs: and 3 more problems"
    loud = run([*program, *words], statuses=[ExitCode.UNEXPECTED])
    assert "13" in loud.stdout
    assert loud.stderr == done.stderr
    for number in range(13):
        (mount.path / f"{number}").rmdir()
        (tree / f"{number}").unlink()
    done = run([*program, "-q", *words])
    assert (done.stdout, done.stderr) == ("", "")
