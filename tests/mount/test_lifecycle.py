"""From mount to unmount: clean ends, refused seconds, and dead mounts that are mounted over."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import DEAD, HEAD, Mount, mounts_at, tierfs
from tests.support.proc import run, running, wait_until

BUSY, NOT_MOUNTED = 4, 6
"""Exit codes of tierfs, as documented."""

DATA = b"data" * HEAD


def test_unmount_ends_the_daemon_and_keeps_the_files(mounted: Mount) -> None:
    (mounted.path / "file").write_bytes(DATA)
    mounted.unmount()
    assert not mounted.is_mounted()
    assert list(mounted.path.iterdir()) == []
    mounted.mount()
    assert (mounted.path / "file").read_bytes() == DATA


def test_the_system_s_umount_does_the_same(mounted: Mount) -> None:
    (mounted.path / "file").write_bytes(DATA)
    run(["umount", mounted.path] if os.geteuid() == 0 else ["fusermount3", "-u", mounted.path])
    mounted.wait_for_daemon()
    mounted.mount()
    assert (mounted.path / "file").read_bytes() == DATA


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_unmounts(mounted: Mount, number: signal.Signals) -> None:
    (mounted.path / "file").write_bytes(DATA)
    os.kill(mounted.pid, number)
    mounted.wait_for_daemon()
    assert not mounted.is_mounted()
    mounted.mount()
    assert (mounted.path / "file").read_bytes() == DATA


def test_busy_mount_is_not_taken_away(mounted: Mount) -> None:
    with (mounted.path / "file").open("wb", buffering=0) as file:
        file.write(b"before")
        output = tierfs("umount", mounted.path, statuses=range(1, 128))
        assert "in use" in output
        file.write(b" after")
    assert (mounted.path / "file").read_bytes() == b"before after"


def test_unmounting_a_plain_directory_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in tierfs("umount", tmp_path, statuses=[NOT_MOUNTED])


def test_second_mount_of_the_volume_is_refused(mounted: Mount, tmp_path: Path) -> None:
    output = tierfs("mount", mounted.volume_file, tmp_path, statuses=[BUSY])
    assert "Traceback" not in output
    assert mounts_at(tmp_path) == 0
    assert running(mounted.pid)


def test_second_mount_at_the_mountpoint_is_refused(mounted: Mount) -> None:
    output = tierfs("mount", mounted.volume_file, mounted.path, statuses=range(1, 128))
    assert str(mounted.path) in output
    assert "Traceback" not in output
    assert mounts_at(mounted.path) == 1


def test_dead_mount_is_mounted_over(mounted: Mount) -> None:
    recovered = (
        "the volume was not closed by an unmount, or its index was restored: it is recovered"
    )
    before = mounted.log.text().count(recovered)
    (mounted.path / "file").write_bytes(DATA)
    mounted.kill()
    with pytest.raises(OSError, match="mnt") as dead:
        (mounted.path / "file").stat()
    assert dead.value.errno in DEAD
    mounted.mount()
    assert mounts_at(mounted.path) == 1
    assert (mounted.path / "file").read_bytes() == DATA
    assert mounted.log.text().count(recovered) == before + 1
    mounted.remount()
    assert mounted.log.text().count(recovered) == before + 1


def test_dead_mount_can_be_unmounted(mounted: Mount) -> None:
    mounted.kill()
    tierfs("umount", mounted.path)
    assert not mounted.is_mounted()


def test_read_only_mount_refuses_changes(mounted: Mount) -> None:
    (mounted.path / "file").write_bytes(DATA)
    mounted.remount("ro")
    assert (mounted.path / "file").read_bytes() == DATA
    with pytest.raises(OSError, match="Read-only") as refused:
        (mounted.path / "file").write_bytes(b"")
    assert refused.value.errno == errno.EROFS


def test_mount_is_shown_as_any_other(mounted: Mount) -> None:
    shown = run(["findmnt", "-n", "-o", "FSTYPE,SOURCE,TARGET", "-M", mounted.path]).stdout
    assert shown.split() == ["fuse.tierfs", str(mounted.volume_file), str(mounted.path)]


def test_status_tells_who_serves_the_mount(mounted: Mount) -> None:
    status = mounted.status()
    assert running(status["pid"])
    assert status["mountpoint"] == str(mounted.path)
    assert status["head"] == HEAD
    assert status["tiers"]["flash"]["directory"] == str(mounted.flash)
    assert status["tiers"]["disk"]["directory"] == str(mounted.disk)


def test_repeated_mounts_leave_nothing_behind(mounted: Mount) -> None:
    for _ in range(2):
        mounted.remount()
    mounted.unmount()
    wait_until(lambda: not mounted.is_mounted(), what="the last mount goes away")


def test_volumes_do_not_see_one_another(make_mount: MakeMount) -> None:
    first, second = make_mount(), make_mount()
    (first.path / "file").write_bytes(b"first")
    (second.path / "file").write_bytes(b"second")
    second.unmount()
    assert (first.path / "file").read_bytes() == b"first"
