"""The filesystems: a native ext4 in memory and two mounts for the whole run, and others."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.parity.harness import Place, prepare_read_only
from tests.support.mounting import Mount, unmount_by_force
from tests.support.proc import run

IMAGE_BYTES = 1024 * 1024 * 1024
"""Of the native filesystem: sparse, so that memory is taken by what the cases write only."""

OPTIONS = "loop,noatime"
"""A mount of tierfs never changes access times by reading."""


class Kind(NamedTuple):
    """How a native filesystem is made and mounted."""

    name: str
    mountpoint: str
    mkfs: tuple[str, ...]
    """Without the file that it is made in; none for a filesystem that has its own memory."""
    options: str = OPTIONS


EXT4 = Kind(
    "ext4",
    "ext",
    # Inode tables are made as they are needed; extended attributes have up to 64 KiB.
    ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", "-O", "ea_inode"),
)
OTHERS = (
    Kind("xfs", "xfs", ("mkfs.xfs", "-q")),
    Kind("xfs with largeio", "large", ("mkfs.xfs", "-q"), f"{OPTIONS},largeio,allocsize=128k"),
    Kind("tmpfs", "tmp", (), "noatime"),
)


class Native:
    """A filesystem in a file. An ext4's mountpoint has a path as long as that of a mount beside."""

    def __init__(self, home: Path, kind: Kind = EXT4) -> None:
        self.path = home / kind.mountpoint
        self.name = kind.name
        self._kind = kind
        self._image = home / f"{kind.mountpoint}.image"
        self._used = 0
        self.path.mkdir()

    def mount(self) -> None:
        """Make the filesystem and mount it."""
        if self._kind.mkfs:
            with self._image.open("wb") as image:
                image.truncate(IMAGE_BYTES)
            run([*self._kind.mkfs, self._image], timeout=60)
        source = ["-t", self._kind.name, "none"] if not self._kind.mkfs else [self._image]
        run(["mount", "-o", self._kind.options, *source, self.path], timeout=20)

    def read_only(self) -> None:
        """Take the permission to write away."""
        run(["mount", "-o", "remount,ro", self.path], timeout=20)

    def fresh(self) -> Place:
        """An empty directory; it goes with the filesystem."""
        self._used += 1
        path = self.path / f"{self._used:05}"
        path.mkdir()
        path.chmod(0o755)
        return Place(path)

    def close(self) -> None:
        """Unmount and free the loop device."""
        unmount_by_force(self.path)


class Trio:
    """A native filesystem and two mounts, in which each case gets a directory of the same name.

    One mount has the fast path, in the other pyfuse3's handlers serve every request.
    """

    def __init__(self, native: Native, router: Mount, python: Mount) -> None:
        self.native = native
        self.mounts = (router, python)
        self._used = 0

    @contextlib.contextmanager
    def fresh(self) -> Iterator[tuple[Place, Place, Place]]:
        """Three empty directories; removed at the end, unless the case fails."""
        for mount in self.mounts:
            if not (mount.is_mounted() and answers(mount.path)):
                mount.renew()
        self._used += 1
        places = self._places(f"{self._used:05}")
        for place in places:
            place.path.mkdir()
            place.path.chmod(0o755)
        yield places
        for place in places:
            shutil.rmtree(place.path)

    def prepared(self) -> tuple[Place, Place, Place]:
        """The three trees of filesystems that are mounted read-only."""
        return self._places("tree")

    def abort(self) -> None:
        """Take both mounts away, so that nobody waits for them any longer."""
        for mount in self.mounts:
            mount.abort()

    def check_logs(self) -> None:
        """Raise AssertionError if a daemon logged an error."""
        for mount in self.mounts:
            mount.log.check()

    def _places(self, name: str) -> tuple[Place, Place, Place]:
        router, python = self.mounts
        return (
            Place(self.native.path / name),
            Place(router.path / name),
            Place(python.path / name),
        )


@contextlib.contextmanager
def trio(home: Path) -> Iterator[Trio]:
    """All three, mounted below `home`, at paths of one length."""
    assert os.geteuid() == 0, (
        "the parity tests mount filesystems and change users: run them as root"
    )
    home.mkdir()
    with contextlib.ExitStack() as stack:
        (home / "0").mkdir()
        native = stack.enter_context(contextlib.closing(Native(home / "0")))
        native.mount()
        mounts = []
        for name, enabled in (("1", "true"), ("2", "false")):
            # The tails lie on the native filesystem, so that all have the same room and limits.
            made = Mount(home / name, disk=native.path / f"disk-{name}")
            stack.enter_context(contextlib.closing(made))
            made.configure("fast_path", f"{{enabled: {enabled}}}")
            made.mount()
            mounts.append(made)
        yield Trio(native, *mounts)


@contextlib.contextmanager
def read_only_trio(home: Path) -> Iterator[Trio]:
    """All three with the prepared tree, mounted read-only."""
    with trio(home) as made:
        for place in made.prepared():
            place.path.mkdir()
            prepare_read_only(place)
        made.native.read_only()
        for mount in made.mounts:
            mount.remount("ro")
        yield made


@contextlib.contextmanager
def natives(home: Path) -> Iterator[list[Native]]:
    """Several native filesystems, mounted in `home`: what they differ in is no promise."""
    home.mkdir()
    with contextlib.ExitStack() as stack:
        made = []
        for kind in (EXT4, *OTHERS):
            native = stack.enter_context(contextlib.closing(Native(home, kind)))
            native.mount()
            made.append(native)
        yield made


def answers(path: Path) -> bool:
    """Whether the mount at `path` is alive."""
    return not isinstance(_statvfs(path), OSError)


def _statvfs(path: Path) -> os.statvfs_result | OSError:
    try:
        return os.statvfs(path)
    except OSError as exc:
        return exc
