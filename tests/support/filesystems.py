"""Small filesystems in memory, so that a tier can be filled."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tests.support.proc import as_root, run

MEBIBYTE = 1024 * 1024


@contextlib.contextmanager
def memory_filesystem(path: Path, mebibytes: int, *, inodes: int = 0) -> Iterator[Path]:
    """A filesystem of its own with this capacity, mounted at `path` and owned by the caller.

    With so many `inodes`; 0: more than are needed.
    """
    path.mkdir(parents=True)
    owner = f"uid={os.geteuid()},gid={os.getegid()}"
    options = f"size={mebibytes}m,mode=700,{owner}" + (f",nr_inodes={inodes}" if inodes else "")
    run(as_root("mount", "-t", "tmpfs", "-o", options, "tierfs-test", path), timeout=20)
    try:
        yield path
    finally:
        # Lazily: a daemon that a failing test left behind may still hold the directory.
        run(as_root("umount", "-l", path), timeout=20)


def used(path: Path) -> int:
    """Bytes in use in the filesystem at `path`."""
    facts = os.statvfs(path)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def fill(path: Path) -> None:
    """Take all the room of a filesystem in a file ``stranger``, as another program does."""
    fd = os.open(path / "stranger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with contextlib.suppress(OSError):
        while True:
            os.write(fd, bytes(4096))
    os.close(fd)
    assert os.statvfs(path).f_bavail == 0
