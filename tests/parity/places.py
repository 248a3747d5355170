"""The two filesystems: a native ext4 in memory and a mounted volume, both for the whole run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.parity.harness import Place, prepare_read_only
from tests.support.mounting import Mount, unmount_by_force
from tests.support.proc import run

IMAGE_BYTES = 1024 * 1024 * 1024
"""Of the native filesystem: sparse, so that memory is taken by what the cases write only."""

FEATURES = ("-O", "ea_inode")
"""Extended attributes of up to 64 KiB."""

NATIVE_OPTIONS = "loop,noatime"
"""A mount of tierfs never changes access times by reading."""


class Native:
    """An ext4 in a file. Its mountpoint's path is as long as that of the mount beside it."""

    def __init__(self, home: Path) -> None:
        self.path = home / "ext"
        self._image = home / "image"
        self.path.mkdir()

    def mount(self) -> None:
        """Make the filesystem and mount it."""
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        quick = ["-q", "-F", "-E", "lazy_itable_init=1"]
        run(["mkfs.ext4", *quick, *FEATURES, self._image], timeout=60)
        run(["mount", "-o", NATIVE_OPTIONS, self._image, self.path], timeout=20)

    def read_only(self) -> None:
        """Take the permission to write away."""
        run(["mount", "-o", "remount,ro", self.path], timeout=20)

    def close(self) -> None:
        """Unmount and free the loop device."""
        unmount_by_force(self.path)


class Pair:
    """A native filesystem and a mount, in which each case gets a directory of the same name."""

    def __init__(self, native: Native, mount: Mount) -> None:
        self.native = native
        self.mount = mount
        self._used = 0

    @contextlib.contextmanager
    def fresh(self) -> Iterator[tuple[Place, Place]]:
        """Two empty directories; removed at the end, unless the case fails."""
        if not answers(self.mount.path):
            self.mount.renew()
        self._used += 1
        paths = [root / f"{self._used:05}" for root in (self.native.path, self.mount.path)]
        for path in paths:
            path.mkdir()
            path.chmod(0o755)
        yield Place(paths[0]), Place(paths[1])
        for path in paths:
            shutil.rmtree(path)

    def prepared(self) -> tuple[Place, Place]:
        """The two trees of a pair that is mounted read-only."""
        return Place(self.native.path / "tree"), Place(self.mount.path / "tree")


@contextlib.contextmanager
def pair(home: Path) -> Iterator[Pair]:
    """Both filesystems, mounted in `home`."""
    assert os.geteuid() == 0, (
        "the parity tests mount filesystems and change users: run them as root"
    )
    home.mkdir()
    with contextlib.ExitStack() as stack:
        native = stack.enter_context(contextlib.closing(Native(home)))
        native.mount()
        # Its tails lie on the native filesystem, so that both have the same room and limits.
        disk = native.path / "disk"
        mount = stack.enter_context(contextlib.closing(Mount(home, disk=disk)))
        mount.mount()
        yield Pair(native, mount)


@contextlib.contextmanager
def read_only_pair(home: Path) -> Iterator[Pair]:
    """Both filesystems with the prepared tree, mounted read-only."""
    with pair(home) as made:
        for root in (made.native.path, made.mount.path):
            tree = root / "tree"
            tree.mkdir()
            prepare_read_only(Place(tree))
        made.native.read_only()
        made.mount.remount("ro")
        yield made


def answers(path: Path) -> bool:
    """Whether the mount at `path` is alive."""
    return not isinstance(_statvfs(path), OSError)


def _statvfs(path: Path) -> os.statvfs_result | OSError:
    try:
        return os.statvfs(path)
    except OSError as exc:
        return exc
