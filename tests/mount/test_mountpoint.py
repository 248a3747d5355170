from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tierfs.common.errors import MountFailed, NotMounted
from tierfs.daemon import clearing, mountpoint
from tierfs.daemon.clearing import find_program, place_of, prepare, unmount
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.mountpoint import is_stale, tierfs_at, within

pytestmark = pytest.mark.once

Listed = Callable[..., list[Mount]]


class Table:
    """Stands in for the kernel's table; unmounting takes the topmost mount away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mounts: list[Mount] = []
        self.dead: set[str] = set()
        for module in (clearing, mountpoint):
            monkeypatch.setattr(module, "mount_at", self._at)
            monkeypatch.setattr(module, "mounts", lambda: self.mounts)
        monkeypatch.setattr(mountpoint, "ask_daemon", self._ask)
        monkeypatch.setattr(clearing, "unmount", self._unmount)

    def add(self, path: Path, fstype: str, *, dead: bool = False) -> None:
        source = f"/volume-{len(self.mounts)}.yaml"
        self.mounts.append(Mount(path, fstype, source, "rw", "rw"))
        if dead:
            self.dead.add(source)

    def _at(self, path: Path) -> Mount | None:
        return next((mount for mount in reversed(self.mounts) if mount.path == path), None)

    def _ask(self, path: Path) -> None:
        mount = self._at(path)
        if mount is not None and mount.source in self.dead:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def _unmount(self, path: Path, *, lazy: bool) -> None:
        mount = self._at(path)
        assert lazy
        assert mount is not None
        self.mounts.remove(mount)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    return Table(monkeypatch)


def test_a_free_directory_is_fit(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert prepare(tmp_path / "link", []) == tmp_path / "real"


def test_the_last_dead_mount_stays_until_it_is_replaced(
    table: Table, tmp_path: Path, expect_log: ExpectLog
) -> None:
    expect_log("whose tierfs daemon is gone")
    for _ in range(3):
        table.add(tmp_path, "fuse.tierfs", dead=True)
    prepare(tmp_path, [])
    assert [mount.source for mount in table.mounts] == ["/volume-0.yaml"]


def test_a_live_mount_is_refused(table: Table, tmp_path: Path) -> None:
    table.add(tmp_path, "fuse.tierfs")
    with pytest.raises(MountFailed, match=r"/volume-0.yaml is already mounted on"):
        prepare(tmp_path, [])


def test_a_live_mount_below_dead_ones_is_refused(
    table: Table, tmp_path: Path, expect_log: ExpectLog
) -> None:
    expect_log("whose tierfs daemon is gone")
    table.add(tmp_path, "fuse.tierfs")
    table.add(tmp_path, "fuse.tierfs", dead=True)
    with pytest.raises(MountFailed, match="already mounted"):
        prepare(tmp_path, [])


def test_a_dead_mount_of_others_is_left_alone(table: Table, tmp_path: Path) -> None:
    table.add(tmp_path, "fuse.sshfs", dead=True)
    with pytest.raises(MountFailed, match=r"a dead fuse.sshfs mount is in the way"):
        prepare(tmp_path, [])
    assert len(table.mounts) == 1


def test_another_file_system_may_lie_below(table: Table, tmp_path: Path) -> None:
    table.add(tmp_path, "ext4")
    assert prepare(tmp_path, []) == tmp_path


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountFailed, match="is not a directory"):
        prepare(tmp_path / "file", [])
    with pytest.raises(MountFailed, match=r"does not exist; make it: mkdir"):
        prepare(tmp_path / "none", [])


@pytest.mark.parametrize("own", ["mnt", "mnt/flash", "mnt/a/b/log", "."])
def test_tierfs_own_files_stay_clear(tmp_path: Path, own: str) -> None:
    (tmp_path / "mnt").mkdir()
    with pytest.raises(MountFailed, match=r"would hide|which is tierfs's own"):
        prepare(tmp_path / "mnt", [tmp_path / own])


def test_neighbours_are_clear(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    free = prepare(tmp_path / "mnt", [tmp_path / "mnt2", tmp_path / "flash"])
    assert free == tmp_path / "mnt"


def test_a_path_inside_a_mount_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Mount(tmp_path, "fuse.tierfs", "/v.yaml", "rw", "rw")
    monkeypatch.setattr(mountpoint, "mount_above", lambda _path: around)
    with pytest.raises(NotMounted, match=f"; it lies in the tierfs mount {tmp_path}$"):
        tierfs_at(tmp_path / "inner")


def test_a_plain_directory_is_not_stale(tmp_path: Path) -> None:
    assert not is_stale(tmp_path)
    assert not is_stale(tmp_path / "none")


def test_unmounting_what_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(MountFailed, match=f"{tmp_path} cannot be unmounted: "):
        unmount(tmp_path)


def test_a_mount_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Mount(tmp_path, "fuse.tierfs", "/v.yaml", "rw", "rw,user_id=0")
    monkeypatch.setattr(clearing, "mount_at", lambda *_: mount)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MountFailed, match="by the user with ID 0, not by you"):
        unmount(tmp_path)


def listed(path: str, number: int) -> Mount:
    return Mount(Path(path), "fuse.tierfs", "/v.yaml", "rw", "rw", number, f"0:{number}")


OURS = listed("/mnt", 40)


def test_a_mount_that_was_moved_is_found() -> None:
    assert place_of(OURS, [listed("/mnt", 50), listed("/new", 40)]) == Path("/new")


def test_of_a_mount_that_is_gone_there_is_no_place() -> None:
    with pytest.raises(MountFailed, match=r"^/mnt is unmounted already$"):
        place_of(OURS, [listed("/mnt", 50)])


def test_of_a_mount_below_another_there_is_no_place() -> None:
    with pytest.raises(MountFailed, match=r"another mount lies over /mnt; unmount"):
        place_of(OURS, [OURS, listed("/mnt", 50)])


def test_programs_are_found_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_program("umount").endswith("/umount")
    with pytest.raises(MountFailed, match="the program 'no-such-thing' is missing"):
        find_program("no-such-thing")


def test_work_that_hangs_does_not_hang_us() -> None:
    stop = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
        within(0.05, stop.wait)
    stop.set()


def test_the_outcome_of_work_comes_through(tmp_path: Path) -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(FileNotFoundError):
        within(5, (tmp_path / "none").stat)


def test_an_unmount_that_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As umount(8) in the kernel, where no signal ends it: here it is spared the signal."""
    program = tmp_path / "umount"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(clearing, "find_program", lambda _name: str(program))
    monkeypatch.setattr(clearing, "TELL_SECONDS", 0.1)
    spared: list[subprocess.Popen[bytes]] = []

    def spare(process: subprocess.Popen[bytes]) -> None:
        spared.append(process)

    monkeypatch.setattr(subprocess.Popen, "kill", spare)
    told: list[int] = []
    with pytest.raises(MountFailed, match=r"is not unmounted after 0\.5 s"):
        unmount(tmp_path, seconds=0.5, waiting=lambda: told.append(1))
    assert told
    spared[0].send_signal(signal.SIGKILL)
    spared[0].wait(10)
