"""A daemon that ends without an unmount leaves its mount, dead: writes fail, not fall through."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import DEAD, Mount, mounts_at, tierfs
from tests.support.proc import kill_process, processes_naming, run, start, stop, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="umount --force")

FAILING = """
import sys, pathlib, pyfuse3, trio
from tierfs.cli.main import main
serving = pyfuse3.main
async def fails(**words):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serving(**words))
        while not pathlib.Path(sys.argv[1]).exists():
            await trio.sleep(0.02)
        {what}
pyfuse3.main = fails
sys.exit(main(["mount", "--foreground", *sys.argv[2:]]))
"""
"""A daemon whose event loop ends in a way of its own once the file of the first argument exists."""


@contextmanager
def daemon(mount: Mount, trigger: Path, what: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [trigger, mount.volume_file, mount.path]
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING.format(what=what), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: mounts_at(mount.path) == 1, what="the mount")
        wait_until(lambda: os.path.exists(mount.path), what="the mount answers")
        yield process
    finally:
        process.kill()
        process.wait(10)


def expect_dead(mount: Mount) -> None:
    with pytest.raises(OSError, match="mnt") as refused:
        (mount.path / "new").touch()
    assert refused.value.errno in DEAD
    assert mounts_at(mount.path) == 1


@pytest.mark.parametrize(
    "what",
    ["raise RuntimeError('a bug')", "raise OSError(5, 'EIO')", "pyfuse3.terminate(); return"],
)
def test_an_end_without_an_unmount_leaves_a_dead_mount(
    make_mount: MakeMount, tmp_path: Path, what: str
) -> None:
    mount = make_mount.formatted()
    trigger = tmp_path / "now"
    with daemon(mount, trigger, what) as process:
        (mount.path / "file").write_text("kept")
        trigger.touch()
        assert process.wait(20) not in {0, -9}
        expect_dead(mount)
    mount.log.allow("is left mounted, dead|failed unexpectedly|a bug|EIO")
    mount.mount()
    assert mounts_at(mount.path) == 1
    assert (mount.path / "file").read_text() == "kept"
    mount.unmount()
    assert os.listdir(mount.path) == []


@needs_root
def test_a_connection_that_is_aborted_leaves_a_dead_mount(mounted: Mount) -> None:
    mounted.log.allow("is left mounted, dead")
    with (mounted.path / "file").open("wb"):
        # Ends the connection before it finds that the mount is in use: umount2(2), MNT_FORCE.
        run(["umount", "--force", mounted.path], statuses=[32])
        mounted.wait_for_daemon()
        expect_dead(mounted)
    mounted.mount()
    assert mounts_at(mounted.path) == 1


def test_a_mount_that_does_not_come_about_leaves_nothing(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    code = """
import sys, pyfuse3
from tierfs.cli.main import main
def refuse(*_words):
    raise RuntimeError("no")
pyfuse3.init = refuse
sys.exit(main(["mount", "--foreground", *sys.argv[1:]]))
"""
    run([sys.executable, "-c", code, mount.volume_file, mount.path], statuses=[5])
    assert mounts_at(mount.path) == 0


WRITER = """
import itertools, os, sys
print(flush=True)
for number in itertools.count():
    try:
        os.close(os.open(f"{sys.argv[1]}/{number % 1000}", os.O_CREAT | os.O_WRONLY))
    except OSError:
        pass
"""


@needs_root
def test_a_dead_mount_is_replaced_without_a_gap(make_mount: MakeMount) -> None:
    mount = make_mount("noatime")
    before = shown(mount)
    writer = start([sys.executable, "-c", WRITER, mount.path])
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(3):
            mount.kill()
            expect_dead(mount)
            mount.mount("noatime")
    finally:
        stop(writer)
    assert shown(mount) == before
    assert mounts_at(mount.path) == 1
    mount.unmount()
    assert os.listdir(mount.path) == [], "programs wrote into the directory below"


def shown(mount: Mount) -> list[str]:
    """The mount's type and options."""
    words = ["findmnt", "-n", "-o", "FSTYPE,SOURCE,VFS-OPTIONS,FS-OPTIONS,PROPAGATION"]
    return run([*words, "-M", mount.path]).stdout.split()


def test_dead_mounts_upon_one_another_are_cleared(make_mount: MakeMount, tmp_path: Path) -> None:
    """As a version that only mounted on top may have left them."""
    mount = make_mount()
    other = make_mount.formatted()
    if os.geteuid() != 0:
        return
    tierfs("mount", other.volume_file, tmp_path)
    run(["mount", "--move", tmp_path, mount.path])
    for pid in (mount.pid, *processes_naming(str(other.volume_file))):
        kill_process(pid)
    assert mounts_at(mount.path) == 2
    mount.mount()
    assert mounts_at(mount.path) == 1
