"""Mounting by the kernel and by fusermount3; nobody serves these mounts, which only lie there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounting import unmount_by_force
from tierfs.common.errors import MountFailed
from tierfs.daemon import mounting
from tierfs.daemon.mountinfo import Mount, mount_at
from tierfs.daemon.mounting import DEVICE, MS_POSIXACL, flags_of, fusermount_options, kernel_data

pytestmark = pytest.mark.once

SOURCE = Path("/etc/tierfs/a, b\\c \N{SNOWMAN}.yaml")
NOBODY = 65534
ROOT_WORDS = {"rw", "suid", "dev", "allow_other", "default_permissions"}

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mount(2) is for root")


@pytest.fixture
def mountpoint(scratch: Path) -> Iterator[Path]:
    path = scratch / "mnt \N{SNOWMAN}"
    path.mkdir()
    yield path
    unmount_by_force(path)


def mounted(path: Path) -> Mount:
    found = mount_at(path)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (ROOT_WORDS, 0),
        ({"ro", "nosuid", "nodev", "noexec"}, 1 | 2 | 4 | 8),
        ({"rw", "sync", "dirsync", "noatime", "exec"}, 16 | 128 | 1024),
    ],
)
def test_words_become_flags(words: set[str], flags: int) -> None:
    assert flags_of(words) == MS_POSIXACL | flags


@pytest.mark.parametrize("word", ["allow_other", "allow_root"])
def test_others_may_enter(word: str) -> None:
    identity = f"user_id={os.getuid()},group_id={os.getgid()}"
    expected = f"fd=7,rootmode=40000,{identity},default_permissions,allow_other"
    assert kernel_data(7, {"ro", word}) == expected


def test_fusermount_reads_commas_in_a_name() -> None:
    options = fusermount_options(Path("/a,b\\c"), {"ro", "nosuid", "nodev", "default_permissions"})
    assert options == ("nodev,nosuid,ro,default_permissions,fsname=/a\\,b\\\\c,subtype=tierfs")


@needs_root
def test_the_kernel_s_table_names_the_volume(mountpoint: Path) -> None:
    descriptor = mounting.mount(mountpoint, SOURCE, {*ROOT_WORDS, "noatime", "nosuid"})
    try:
        found = mounted(mountpoint)
        assert (found.fstype, found.source, found.owner) == ("fuse.tierfs", str(SOURCE), 0)
        assert {"rw", "noatime", "nosuid"} <= set(found.options.split(","))
        assert "allow_other" in found.super_options
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


@needs_root
def test_a_refusal_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MountFailed, match="none: the kernel refused the mount: No such file"):
        mounting.mount(tmp_path / "none", SOURCE, ROOT_WORDS)


@needs_root
def test_no_descriptor_is_left_by_a_refusal(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(MountFailed):
        mounting.mount(tmp_path / "none", SOURCE, ROOT_WORDS)
    assert os.listdir("/proc/self/fd") == before


def test_a_machine_without_fuse_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "DEVICE", tmp_path / "fuse")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MountFailed, match="fuse: No such file or directory; load the kernel's"):
        mounting.mount(tmp_path, SOURCE, ROOT_WORDS)


def test_a_container_s_root_is_told_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(mounting, "DEVICE", Path("/dev/null"))
    monkeypatch.setattr(mounting, "_call_mount", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(MountFailed, match="not permitted; mounting needs CAP_SYS_ADMIN"):
        mounting.mount(tmp_path, SOURCE, ROOT_WORDS)


@pytest.fixture
def by_fusermount(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user does; fusermount3 itself goes on being run by this one."""
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


@pytest.mark.usefixtures("by_fusermount")
def test_a_user_mounts_by_fusermount(mountpoint: Path) -> None:
    descriptor = mounting.mount(mountpoint, SOURCE, {"rw", "nosuid", "nodev", "noatime"})
    try:
        found = mounted(mountpoint)
        assert (found.fstype, found.source) == ("fuse.tierfs", str(SOURCE))
        assert found.options.startswith("rw,nosuid,nodev,noatime")
        assert found.owner == os.getuid()
        assert not os.get_inheritable(descriptor)
        assert os.fstat(descriptor).st_rdev == DEVICE.stat().st_rdev
    finally:
        os.close(descriptor)


@pytest.mark.usefixtures("by_fusermount")
def test_what_fusermount_says_is_passed_on(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    refused = "none: fusermount3 refused the mount: failed to access .*No such file"
    with pytest.raises(MountFailed, match=refused):
        mounting.mount(tmp_path / "none", SOURCE, {"rw", "nosuid", "nodev"})
    assert os.listdir("/proc/self/fd") == before
