"""What only pyfuse3's handlers do, which serve every request without the fast path."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.loop_devices import loop_filesystem, shut_down
from tests.support.proc import wait_until

pytestmark = pytest.mark.once


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    with loop_filesystem(tmp_path, "xfs") as path:
        yield path


def syncs(file: int, directory: int) -> dict[str, int]:
    """The errno of each kind of sync of a file and a directory; 0: it succeeded."""
    return {
        "fsync": errno_of(os.fsync, file),
        "fdatasync": errno_of(os.fdatasync, file),
        "fsync of a directory": errno_of(os.fsync, directory),
        "fdatasync of a directory": errno_of(os.fdatasync, directory),
    }


def errno_of(call: Callable[[int], None], fd: int) -> int:
    try:
        call(fd)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a loop device")
def test_every_kind_of_sync_fails_where_the_index_cannot_be_synced(
    make_mount: MakeMount, device: Path
) -> None:
    """A handler that does nothing would report success."""
    mount = make_mount("no_fastpath", index=device / "index.db")
    (mount.path / "file").write_bytes(b"abc")
    mount.log.allow(r".")
    file = os.open(mount.path / "file", os.O_RDWR)
    directory = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        healthy = syncs(file, directory)
        shut_down(device)
        failed = syncs(file, directory)
    finally:
        os.close(file)
        os.close(directory)
        mount.abort()
    assert healthy == dict.fromkeys(healthy, 0)
    assert failed == dict.fromkeys(failed, errno.EIO)


def test_a_removed_file_is_freed_once_the_kernel_forgets_it(make_mount: MakeMount) -> None:
    mount = make_mount("no_fastpath")
    path = mount.path / "file"
    path.write_bytes(b"abc")
    other = mount.path / "other"
    os.link(path, other)
    ino = path.stat().st_ino
    other.unlink()  # two lookups are forgotten at once: of the creation, and of the link
    with path.open("rb") as held:
        path.unlink()
        assert mount.flash_object(ino).exists()
        assert held.read() == b"abc"
    wait_until(lambda: not mount.flash_object(ino).exists(), what="the object is removed")
