"""Filesystems on loop devices: cut off as by a loss of power, or with a device that fails."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.powercut.journal import Cut
from tests.support.proc import as_root, run, wait_until

MIB = 1024 * 1024

MAKE: dict[str, tuple[int, list[str]]] = {
    "ext4": (
        96,
        ["mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
    ),
    "xfs": (300, ["mkfs.xfs", "-q", "-K"]),
}
"""Size in MiB, and the program that formats an image."""

PATIENCE = 30
"""Seconds until a filesystem can be unmounted."""

FLUSH, LOG_FLUSH, NO_FLUSH = 0, 1, 2
"""Of FS_IOC_SHUTDOWN: everything is written first, only the log, nothing."""

_SHUTDOWN = """
import fcntl, os, struct, sys, time
descriptors = [os.open(path, os.O_RDONLY) for path in sys.argv[2:]]
began = time.monotonic_ns()
for descriptor in descriptors:
    fcntl.ioctl(descriptor, 0x8004587D, struct.pack("I", int(sys.argv[1])))
print(began, time.monotonic_ns())
"""
"""EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN have one number (linux/fs.h: FS_IOC_SHUTDOWN)."""


def cut(directories: Sequence[Path], how: int) -> Cut:
    """End these filesystems at once, as a power cut would."""
    told = run(as_root(sys.executable, "-c", _SHUTDOWN, f"{how}", *directories)).stdout
    began, ended = told.split()
    return Cut(int(began), int(ended))


def unmount(path: Path, image: Path) -> None:
    """Unmount, as soon as nobody uses it, and wait until the kernel has let go of the device.

    It does not while a mount namespace that another program made has a copy of the mount: then
    mounting again would give the old filesystem.
    """
    words = [os.fsdecode(word) for word in as_root("umount", path)]

    def unmounted() -> bool:
        done = subprocess.run(words, stderr=subprocess.PIPE, check=False, text=True)
        return done.returncode == 0 or "not mounted" in done.stderr

    wait_until(unmounted, what=f"{path} is unmounted", timeout=PATIENCE)
    wait_until(
        lambda: device_of(image) is None,
        what=f"{image} is free: another mount namespace has a copy of {path}",
        timeout=PATIENCE,
    )


def device_of(image: Path) -> str | None:
    """The name of the loop device that has this image, if any."""
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if path.read_text(encoding="utf-8").strip() == str(image):
                return path.parent.parent.name
    return None


def unmount_lazily(path: Path) -> None:
    """Unmount, whoever uses it; not being mounted is fine."""
    words = [os.fsdecode(word) for word in as_root("umount", "-l", path)]
    subprocess.run(words, stderr=subprocess.DEVNULL, check=False)


class LoopFilesystem:
    """One filesystem in an image that lies in memory; the caller closes it."""

    def __init__(self, image: Path, at: Path, kind: str) -> None:
        self.at = at
        self._image = image
        self._options = "loop,nodiscard" if kind == "ext4" else "loop"
        size, program = MAKE[kind]
        with image.open("xb") as file:
            file.truncate(size * MIB)
        run(as_root(*program, image))
        at.mkdir()
        self.attach()

    def attach(self) -> None:
        """Mount it; the filesystem plays back its journal."""
        run(as_root("mount", "-o", self._options, self._image, self.at))
        run(as_root("chown", f"{os.geteuid()}:{os.getegid()}", self.at))

    def detach(self) -> None:
        """Unmount it, so that nothing of it is in memory."""
        unmount(self.at, self._image)

    def close(self) -> None:
        """Unmount it, whatever still uses it, and remove the image."""
        unmount_lazily(self.at)
        with contextlib.suppress(FileNotFoundError):
            self._image.unlink()


class FailingFilesystem:
    """ext4 whose device fails for blocks that are written for the first time, when it is told to.

    The image lies in a small filesystem in memory, with holes where ext4 has free blocks: filling
    that filesystem makes writing to a hole fail, which the loop device reports as an I/O error.
    """

    SIZE_MIB = 128
    SPARE_MIB = 12

    def __init__(self, home: Path, at: Path) -> None:
        self.at = at
        self._backing = home / f"{at.name}-backing"
        self._backing.mkdir()
        self._image = self._backing / "image"
        at.mkdir()
        size = f"size={self.SIZE_MIB + self.SPARE_MIB}m,mode=777"
        run(as_root("mount", "-t", "tmpfs", "-o", size, "tierfs-test", self._backing))
        self._allocate()
        run(as_root(*MAKE["ext4"][1], self._image))
        self._allocate()
        self.attach()

    def _allocate(self) -> None:
        run(["fallocate", "-l", f"{self.SIZE_MIB}M", self._image])

    def attach(self) -> None:
        """Mount it."""
        run(as_root("mount", "-o", "loop,nodiscard", self._image, self.at))
        # The loop device calls a write that came to its end early a success (lo_complete_rq), as
        # one of some blocks and some holes does. No write of one page comes to its end early.
        limit = f"/sys/block/{device_of(self._image)}/queue/max_sectors_kb"
        run(as_root("sh", "-c", f"echo 4 > {limit}"))
        run(as_root("chown", f"{os.geteuid()}:{os.getegid()}", self.at))

    def prepare(self, mebibytes: int = 80) -> None:
        """Turn so much free room into holes; what is there by now keeps its blocks."""
        ballast = self.at / "ballast"
        ballast.write_bytes(bytes(mebibytes * MIB))
        run(["sync", "-f", self.at])
        told = run(as_root("filefrag", "-v", ballast)).stdout
        ballast.unlink()
        run(["sync", "-f", self.at])
        for line in told.splitlines():
            fields = line.replace(".", " ").replace(":", " ").split()
            if fields and fields[0].isdigit():
                self._make_hole(int(fields[3]), int(fields[5]))

    def _make_hole(self, block: int, count: int) -> None:
        where = ["-o", f"{block * 4096}", "-l", f"{count * 4096}"]
        run(["fallocate", "-p", *where, self._image])

    def fail_journal(self) -> None:
        """Let the device fail for the journal as well, but for its first block."""
        run(["sync", "-f", self.at])
        blocks = run(as_root("debugfs", "-R", "blocks <8>", self._image)).stdout.split()
        numbered = enumerate(map(int, blocks[1:]))
        for _, together in itertools.groupby(numbered, lambda each: each[1] - each[0]):
            (_, first), *others = together
            self._make_hole(first, 1 + len(others))
        self.fail()

    def fail(self) -> None:
        """Let the device fail from now on."""
        with (self._backing / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(MIB))

    def heal(self) -> None:
        """Let the device work again."""
        (self._backing / "fill").unlink(missing_ok=True)

    def detach(self) -> None:
        """Unmount the filesystem on the device, so that nothing of it is in memory."""
        unmount(self.at, self._image)

    def close(self) -> None:
        """Unmount both."""
        for place in (self.at, self._backing):
            unmount_lazily(place)
