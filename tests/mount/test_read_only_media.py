"""What the media allow is mounted, and shown; nothing is written where the mount is read-only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.filesystems import memory_filesystem
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import as_root, run, wait_until
from tierfs.daemon.mountinfo import mount_at


@pytest.fixture
def protectable(scratch: Path, make_mount: MakeMount) -> Iterator[Mount]:
    """A volume on two filesystems of its own, not mounted, with a file of head and tail."""
    with ExitStack() as stack:
        tiers = {
            name: stack.enter_context(memory_filesystem(scratch / name, 32))
            for name in ("flash", "disk")
        }
        mount = make_mount(flash=tiers["flash"] / "tier", disk=tiers["disk"] / "tier")
        (mount.path / "file").write_bytes(b"x" * 100_000)
        yield mount
        mount.abort()


REFUSED = 32
"""Exit status of mount(8)."""


def protect(directory: Path) -> bool:
    """Whether it is read-only now; workers of a daemon that was killed end a moment later."""
    command = as_root("mount", "-o", "remount,ro", directory)
    return run(command, timeout=20, statuses=(0, REFUSED)).returncode == 0


@contextmanager
def protected(directory: Path) -> Iterator[None]:
    """The filesystem takes no writes."""
    wait_until(lambda: protect(directory.parent), what="a filesystem that nobody writes to")
    try:
        yield
    finally:
        run(as_root("mount", "-o", "remount,rw", directory.parent), timeout=20)


def everything(*directories: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file()
    }


def is_readable_only(mount: Mount) -> None:
    assert (mount.path / "file").read_bytes() == b"x" * 100_000
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (mount.path / "new").touch()
    assert "ro" in mount.status()["options"]
    found = mount_at(mount.path)
    assert found is not None
    table = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    (line,) = [line for line in table.splitlines() if line.split()[1] == os.fspath(mount.path)]
    assert "ro" in line.split()[3].split(",")


@pytest.mark.parametrize(
    ("tier", "options"), [("flash", ()), ("flash", ("ro",)), ("disk", ("rw",))]
)
def test_a_write_protected_directory_is_mounted_read_only(
    protectable: Mount, tier: str, options: tuple[str, ...]
) -> None:
    mount = protectable
    mount.unmount()
    directory = {"flash": mount.flash, "disk": mount.disk}[tier]
    with protected(directory):
        chosen = ["-o", ",".join(options)] if options else []
        told = tierfs("mount", mount.volume_file, mount.path, *chosen)
        assert ("is write-protected, mounting read-only" in told) == ("ro" not in options)
        mount.pid = int(mount.status()["pid"])
        is_readable_only(mount)
        assert mount.status()["tiers"][tier]["read_only"]
        assert "(write-protected)" in tierfs("status", mount.path)
        mount.unmount()
    mount.mount()
    (mount.path / "new").touch()


def test_a_flash_that_became_write_protected_after_a_crash_is_read(protectable: Mount) -> None:
    """The index has a log, which is neither replayed nor lost."""
    mount = protectable
    (mount.path / "last").write_bytes(b"in the log")
    mount.kill()
    run(as_root("umount", "-l", mount.path), timeout=20)
    with protected(mount.flash):
        mount.mount()
        assert (mount.path / "last").read_bytes() == b"in the log"
        is_readable_only(mount)
        mount.unmount()
    mount.mount()
    assert (mount.path / "last").read_bytes() == b"in the log"


def test_a_read_only_mount_writes_nothing_below(protectable: Mount) -> None:
    mount = protectable
    mount.unmount()
    before = everything(mount.flash, mount.disk)
    mount.mount("ro")
    is_readable_only(mount)
    mount.unmount()
    assert everything(mount.flash, mount.disk) == before
