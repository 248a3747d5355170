"""Unmounting says for whom it waits, and mounting again who still holds the volume."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.loop_devices import frozen, loop_filesystem
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import run, start, stop, wait_until
from tierfs.common.errors import VolumeBusy
from tierfs.daemon import unmount
from tierfs.daemon.holder import serve_when_free
from tierfs.daemon.mountinfo import mount_at
from tierfs.daemon.runtime import runs
from tierfs.daemon.unmount import describe, holders
from tierfs.policy.volume_file import load_volume_file

pytestmark = pytest.mark.alone

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes mount namespaces")

FAILED, BUSY, NOT_MOUNTED = 5, 4, 6
SOON = 15
"""Seconds in which a command says for whom it waits; its own time-outs are far below."""


ONLY_OURS = """
findmnt --raw --noheadings --types fuse.tierfs --output TARGET | grep -Fxv "$0" | xargs -r umount -l
echo
exec sleep 60
"""


@contextlib.contextmanager
def namespace(kept: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a mount namespace of its own, which has no other tierfs mount than `kept`."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    process = start([*words, ONLY_OURS, kept])
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        stop(process)


def state_of(mount: Mount) -> str | None:
    found = [run.state for run in runs() if run.volume == str(mount.volume_file) and run.alive()]
    return found[0] if found else None


@needs_root
def test_a_mount_namespace_is_named(mounted: Mount) -> None:
    with namespace(mounted.path) as other:
        began = time.monotonic()
        said = tierfs("umount", "--timeout", "4", mounted.path, statuses=[FAILED], timeout=SOON)
        assert time.monotonic() - began < SOON
        who = f"mounted in the mount namespace of process {other.pid} (sleep, on {mounted.path})"
        assert f"waiting for its daemon: it is still {who}" in said
        assert f"its daemon has not ended: it is still {who}" in said
        again = tierfs("mount", mounted.volume_file, mounted.path, statuses=[BUSY])
        assert f"held by its daemon, process {mounted.pid}" in again
        assert who in again
    mounted.wait_for_daemon()
    mounted.mount()


def test_who_uses_a_lazily_unmounted_volume_is_named(mounted: Mount) -> None:
    reader = start(["sh", "-c", "exec 3>file; echo; exec sleep 60"], cwd=mounted.path)
    try:
        assert reader.stdout is not None
        reader.stdout.readline()
        tierfs("umount", "--lazy", mounted.path)
        said = tierfs("mount", mounted.volume_file, mounted.path, statuses=[BUSY])
        assert f"still in use by process {reader.pid} (sleep)" in said
    finally:
        stop(reader)
    mounted.wait_for_daemon()
    mounted.mount()


def test_a_file_and_a_directory_keep_a_mount(mounted: Mount) -> None:
    found = mount_at(mounted.path)
    assert found is not None
    mine = (os.getpid(), "in use by")
    assert mine not in [
        (one.pid, one.kind) for one in holders(found.device, found.source, found.number)
    ]
    with (mounted.path / "file").open("wb"):
        assert mine in [
            (one.pid, one.kind) for one in holders(found.device, found.source, found.number)
        ]
        assert f"in use by process {os.getpid()} (" in describe(
            holders(found.device, found.source, found.number)
        )
    user = start(["sleep", "60"], cwd=mounted.path)
    try:
        wait_until(
            lambda: (
                user.pid in [one.pid for one in holders(found.device, found.source, found.number)]
            ),
            what="its working directory",
        )
    finally:
        stop(user)


def busy() -> None:
    raise VolumeBusy("locked")


@needs_root
def test_a_volume_that_is_written_out_is_called_so(make_mount: MakeMount, tmp_path: Path) -> None:
    with loop_filesystem(tmp_path, "ext4") as device:
        mount = make_mount(flash=device / "flash")
        mount.log.allow(".")
        (mount.path / "file").write_bytes(b"x" * 3 * HEAD)
        with frozen(device):
            run(["umount", mount.path])
            wait_until(lambda: state_of(mount) == "closing", what="the daemon closes")
            with pytest.raises(VolumeBusy) as refused:
                serve_when_free(load_volume_file(mount.volume_file), busy, seconds=1)
        said = str(refused.value)
        assert f"process {mount.pid}, which was unmounted from {mount.path} and has been" in said
        assert "namespace" not in said
        mount.wait_for_daemon()
    assert state_of(mount) is None


@needs_root
def test_umount_says_that_the_volume_is_written_out(make_mount: MakeMount, tmp_path: Path) -> None:
    with loop_filesystem(tmp_path, "ext4") as device:
        mount = make_mount(flash=device / "flash")
        mount.log.allow(".")
        (mount.path / "file").write_bytes(b"x" * 3 * HEAD)
        with frozen(device):
            said = tierfs("umount", "--timeout", "3", mount.path, statuses=[FAILED], timeout=SOON)
            told = tierfs("status", mount.volume_file, statuses=[NOT_MOUNTED])
            assert f"its daemon, process {mount.pid}, is writing out" in told
            assert f"process {mount.pid} is writing out what is not durable yet" in said
        mount.wait_for_daemon()


def test_a_volume_file_can_be_unmounted(mounted: Mount) -> None:
    tierfs("umount", mounted.volume_file)
    assert not mounted.is_mounted()
    mounted.mount()


def test_what_a_program_calls_itself_reaches_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user's program may hold a mount, and have any name (PR_SET_NAME)."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/comm").write_bytes(b"\x1b[2Jnice\xff\n")
    monkeypatch.setattr(unmount, "PROC", tmp_path)
    assert unmount._name(7) == r"\x1b[2Jnice\xff"
