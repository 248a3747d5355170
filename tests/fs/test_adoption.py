"""Adoption: a tree gets names in the volume; its bytes stay where they are."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tests.fs.adopting import adopt, content_of, paths, steps_of
from tests.fs.calls import make
from tests.fs.consistency import check
from tests.support.faulty_os import Killed, Moment, Point
from tests.support.trees import make_tree
from tests.support.volumes import LooseVolume, MakeVolume
from tierfs.common.errors import FsError
from tierfs.fs.adoption_batch import THERE
from tierfs.fsck.check import check as fsck

FILES = 60


@pytest.fixture
def tree(home: Path) -> Path:
    path = home / "tree"
    path.mkdir()
    make_tree(path, files=FILES)
    return path


def expected(tree: Path, *, shared: bool = True) -> dict[bytes, tuple[object, ...]]:
    """What ``paths`` must show of a volume that has adopted the tree, or is going to."""
    found: dict[bytes, tuple[object, ...]] = {}
    for path in tree.rglob("*"):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = [
            (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False)) for name in names
        ]
        is_file = stat.S_ISREG(status.st_mode)
        is_link = stat.S_ISLNK(status.st_mode)
        size = 4096 if stat.S_ISDIR(status.st_mode) else status.st_size
        links = status.st_nlink
        if shared and is_file and status.st_size:  # the object is one of them
            links -= 1
        elif stat.S_ISDIR(status.st_mode):
            links = 2 + sum(below.is_dir() and not below.is_symlink() for below in path.iterdir())
        found[b"/" + os.fsencode(path.relative_to(tree))] = (
            *(status.st_mode, status.st_uid, status.st_gid, links, size, status.st_rdev),
            status.st_mtime_ns,
            os.fsencode(path.readlink()) if is_link else None,
            path.read_bytes() if is_file else b"",
            tuple(sorted(xattrs)),
        )
    return found


def test_all_of_a_tree_is_in_the_volume(small: LooseVolume, tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(tree / "socket"))
    outcome = adopt(small, tree)
    assert outcome.problems == []
    assert outcome.linked > FILES // 2
    assert outcome.copied == 0
    assert paths(small) == expected(tree)
    check(small)
    small.reopen()
    assert paths(small) == expected(tree)
    assert small.index.originals.begun() == []
    small.close()
    assert fsck(small.settings).clean


@pytest.mark.parametrize("flat", [False, True])
def test_thousands_of_files_need_no_serial_that_is_not_reserved(
    small: LooseVolume, home: Path, *, flat: bool
) -> None:
    tree = home / "many"
    for number in range(6000):
        path = tree / ("all" if flat else f"{number // 100}") / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert adopt(small, tree).linked == 6000
    assert adopt(small, tree).present == 6000
    check(small)


@pytest.mark.parametrize("label", ["disk.link", "disk.mkdir", "index.commit"])
def test_a_failure_leaves_no_object_of_a_file_that_the_index_has_not(
    small: LooseVolume, tree: Path, label: str
) -> None:
    """The index may have stored what it fails to commit: the next mount sees to its objects."""
    small.os.clear()
    small.os.fail(Point(label, 5 if label == "disk.link" else 1), errno.ENOSPC)
    with pytest.raises((OSError, FsError)):
        adopt(small, tree)
    if label != "index.commit":
        objects = {int(path.name) for path in (small.settings.disk / "objects").glob("*/*/*")}
        assert not [ino for ino in objects if small.index.inodes.find(ino) is None]
    small.reopen()
    check(small)
    small.close()
    assert fsck(small.settings).clean
    small.open()
    adopt(small, tree)
    assert paths(small) == expected(tree)


def test_a_second_run_changes_nothing(small: LooseVolume, tree: Path) -> None:
    first = adopt(small, tree)
    before = paths(small)
    second = adopt(small, tree)
    made = first.linked + first.others + first.links
    assert (second.linked, second.links, second.others, second.present) == (0, 0, 0, made)
    assert paths(small) == before
    check(small)


def test_names_in_two_runs_are_still_one_file(small: LooseVolume, home: Path) -> None:
    tree = home / "linked"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "one").write_bytes(b"same")
    os.link(tree / "a" / "one", tree / "two")
    steps = list(steps_of(tree))
    run = small.fs.adoption.run
    run(os.fsencode(tree), b"/", [step for step in steps if step.path], take=False, heads=False)
    small.fs.adoption.settle()
    small.reopen()
    adopt(small, tree)
    assert small.find(b"two").ino == small.find(b"a", b"one").ino
    assert small.find(b"two").nlink == 2
    check(small)


def test_the_same_tree_twice_is_two_sets_of_files(small: LooseVolume, tree: Path) -> None:
    for name in (b"one", b"two"):
        make(small, name, stat.S_IFDIR | 0o755)
        small.fs.adoption.run(
            os.fsencode(tree), b"/" + name, list(steps_of(tree)), take=False, heads=False
        )
    small.fs.adoption.settle()
    one, two = small.find(b"one", b"plain-0"), small.find(b"two", b"plain-0")
    assert one.ino != two.ino
    check(small)


def test_what_is_there_already_stays(small: LooseVolume, home: Path) -> None:
    tree = home / "simple"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "file").write_bytes(b"original")
    (tree / "other").write_bytes(b"original")
    make(small, b"below")
    other = make(small, b"other")
    small.fs.data.write(other.ino, 0, b"somebody else's")
    outcome = adopt(small, tree)
    assert dict(outcome.problems) == {b"below": THERE, b"other": THERE}
    assert content_of(small, other.ino) == b"somebody else's"
    check(small)


def test_a_tree_that_is_taken_is_empty_then(small: LooseVolume, tree: Path) -> None:
    wanted = expected(tree, shared=False)
    outcome = adopt(small, tree, take=True)
    assert outcome.problems == []
    assert [path for path in tree.rglob("*") if not path.is_dir()] == []
    assert paths(small) == wanted
    assert small.index.originals.count() == 0
    small.reopen()
    assert paths(small) == wanted
    check(small)


def test_a_taken_file_that_somebody_changed_meanwhile_stays(small: LooseVolume, home: Path) -> None:
    tree = home / "busy"
    tree.mkdir()
    (tree / "file").write_bytes(b"before")
    steps = list(steps_of(tree))
    small.fs.adoption.run(os.fsencode(tree), b"/", steps, take=True, heads=False)
    (tree / "file").write_bytes(b"changed")
    small.fs.adoption.settle()
    assert (tree / "file").read_bytes() == b"changed"


@pytest.mark.parametrize("take", [False, True], ids=["keep", "take"])
def test_files_of_another_filesystem_are_copied(
    small: LooseVolume, tree: Path, tmp_path: Path, *, take: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", tree, elsewhere], check=True)
    if elsewhere.stat().st_dev == small.settings.disk.stat().st_dev:
        pytest.fail("this needs two filesystems: /tmp and /dev/shm")
    wanted = expected(elsewhere, shared=False)
    outcome = adopt(small, elsewhere, take=take)
    assert outcome.problems == []
    assert (outcome.linked, outcome.copied > FILES // 2) == (0, True)
    assert paths(small) == wanted
    again = adopt(small, elsewhere, take=take)
    assert (again.copied, again.others) == (0, 0)
    small.volume.checkpoints.make()
    small.abandon()
    small.open()
    assert paths(small) == wanted
    check(small)


def test_heads_are_asked_for(small: LooseVolume, tree: Path) -> None:
    adopt(small, tree, heads=True)
    request = small.index.pins_and_requests.request_of(small.find(b"plain-0").ino)
    large = next(
        path.relative_to(tree) for path in tree.rglob("*") if path.is_file() and path.stat().st_size
    )
    ino = small.find(*os.fsencode(large).split(b"/")).ino
    request = small.index.pins_and_requests.request_of(ino)
    assert request is not None
    assert request.prefix == small.head


LABELS = (
    *("adopt.adopting", "adopt.linked", "adopt.committed", "adopt.settled"),
    *(
        "disk.link",
        "disk.lstat",
        "disk.listxattr",
        "disk.syncfs",
        "index.commit",
        "index.sync",
        "disk.mkdir",
    ),
)


@pytest.mark.parametrize("take", [False, True], ids=["keep", "take"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("label", LABELS)
def test_killed_anywhere_and_begun_again_it_is_as_one_run(
    make_volume: MakeVolume, home: Path, label: str, moment: Moment, *, take: bool
) -> None:
    volume, tree = make_volume(), home / "tree"
    tree.mkdir()
    make_tree(tree, files=12)
    wanted = expected(tree, shared=False)
    for nth in range(4):
        volume.os.clear()
        volume.os.kill(Point(label, nth * 5), moment, lambda: None)
        try:
            adopt(volume, tree, take=take)
        except Killed:
            volume.abandon()
            volume.os.dead = False
            volume.os.clear()
            volume.open()
            check(volume)
    volume.os.clear()
    adopt(volume, tree, take=take)
    assert paths(volume) == wanted
    if take:
        assert [path for path in tree.rglob("*") if not path.is_dir()] == []
    check(volume)
    volume.close()
    report = fsck(volume.settings)
    assert report.clean, report.findings


def test_a_power_cut_that_loses_objects_loses_no_original(small: LooseVolume, tree: Path) -> None:
    wanted = expected(tree, shared=False)
    small.fs.adoption.run(os.fsencode(tree), b"/", list(steps_of(tree)), take=True, heads=False)
    small.abandon()
    lost = list((small.settings.disk / "objects").glob("*/*/*"))[::2]
    for path in lost:
        path.unlink()
    small.open()
    check(small)
    assert len(paths(small)) < len(wanted)
    adopt(small, tree, take=False)
    assert paths(small).keys() == wanted.keys()
    assert [row[-2] for row in paths(small).values()] == [wanted[path][-2] for path in paths(small)]
    check(small)


def test_a_symbolic_link_in_the_place_of_a_directory_is_not_followed(
    small: LooseVolume, home: Path
) -> None:
    tree = home / "simple"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "file").write_bytes(b"original")
    steps = list(steps_of(tree))
    shutil.move(tree / "below", home / "elsewhere")
    (tree / "below").symlink_to(home / "elsewhere")
    run = small.fs.adoption.run(os.fsencode(tree), b"/", steps, take=False, heads=False)
    assert [path for path, _ in run.problems] == [b"below"]
    assert small.index.dentries.find(1, b"below") is None
