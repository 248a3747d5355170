"""Mounting: a descriptor of /dev/fuse, and mount(2) or fusermount3(1) to make a filesystem of it.

tierfs mounts by itself and gives libfuse the descriptor as ``/dev/fd/N``, so that the router can
stand between the kernel and libfuse. This module does what lib/mount.c and lib/mount_util.c of
libfuse do.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tierfs.common.errors import MountFailed
from tierfs.daemon.clearing import clear_stale, find_program, unmount
from tierfs.daemon.runtime import make_private, runtime_directory

log = logging.getLogger(__name__)

DEVICE: Final = Path("/dev/fuse")
TYPE: Final = "fuse.tierfs"

FLAGS: Final[Mapping[str, int]] = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "noatime": 1024,
}
"""Words of ``-o`` that are bits of mount(2): MS_RDONLY and so on (linux/mount.h)."""

MS_POSIXACL: Final = 1 << 16
"""Leaves the umask to the filesystem, which alone knows whether a default ACL takes its place
(fuse_fill_super_common, fs/fuse/inode.c)."""

HINTS: Final[Mapping[int, str]] = {
    errno.EPERM: "; mounting needs CAP_SYS_ADMIN, which a container may lack",
    errno.ENODEV: "; load the kernel's module: modprobe fuse",
    errno.ENOENT: "; load the kernel's module: modprobe fuse",
}

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_ONE_INT: Final = 1


def leaves_umask_to_daemon() -> bool:
    """Whether a mount made by this user has ``MS_POSIXACL``, which fusermount3 cannot set."""
    return os.geteuid() == 0


def mount(mountpoint: Path, source: Path, words: Collection[str]) -> int:
    """Mount at ``mountpoint`` with the options ``words``; returns the descriptor of /dev/fuse.

    Replaces a dead tierfs mount. As root, from Linux 6.5 on, the replacement leaves no moment
    without a mount, in which programs would write into the directory below.

    Raises:
        MountFailed: the kernel or fusermount3 refused.
    """
    dead = clear_stale(mountpoint)
    if os.geteuid() == 0:
        make = _replace_by_kernel if dead else _mount_by_kernel
        return make(mountpoint, source, words)
    if dead:
        unmount(mountpoint, lazy=True)
    return _mount_by_fusermount(mountpoint, source, words)


def _mount_by_kernel(mountpoint: Path, source: Path, words: Collection[str]) -> int:
    try:
        return _mount_device(words, lambda data: _call_mount(mountpoint, source, words, data))
    except OSError as exc:
        message = f"{mountpoint}: the kernel refused the mount: {exc.strerror}{_hint(exc)}"
        raise MountFailed(message) from exc


def _replace_by_kernel(mountpoint: Path, source: Path, words: Collection[str]) -> int:
    """Mount beneath the dead mount, then unmount that; in the other order on an older kernel."""

    def beneath(data: str) -> None:
        _put_beneath(mountpoint, lambda place: _call_mount(place, source, words, data))

    try:
        device = _mount_device(words, beneath)
    except OSError as exc:
        log.info("the dead mount is unmounted before the new one is made: %s", exc.strerror)
        unmount(mountpoint, lazy=True)
        return _mount_by_kernel(mountpoint, source, words)
    try:
        unmount(mountpoint, lazy=True)
    except MountFailed:
        os.close(device)
        raise
    return device


def _mount_device(words: Collection[str], mount: Callable[[str], None]) -> int:
    """A descriptor of /dev/fuse, for which ``mount`` has mounted with the options it is given.

    Raises:
        MountFailed: the device cannot be opened.
        OSError: what ``mount`` raised.
    """
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as exc:
        raise MountFailed(f"{DEVICE}: {exc.strerror}{_hint(exc)}") from exc
    try:
        mount(kernel_data(device, words))
    except BaseException:
        os.close(device)
        raise
    return device


def flags_of(words: Collection[str]) -> int:
    """The flags of mount(2)."""
    return MS_POSIXACL | sum(FLAGS[word] for word in set(words) & set(FLAGS))


def kernel_data(device: int, words: Collection[str]) -> str:
    """The options that fs/fuse/inode.c of Linux reads (fuse_parse_param)."""
    data = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    return ",".join([data, *_access(words)])


def fusermount_options(source: Path, words: Collection[str]) -> str:
    """The options of fusermount3(1)."""
    # A backslash keeps a comma in the value.
    name = os.fspath(source).replace("\\", "\\\\").replace(",", "\\,")
    named = [f"fsname={name}", "subtype=tierfs"]
    known = sorted(word for word in words if word in FLAGS or word in {"rw", "nosuid", "nodev"})
    return ",".join([*known, *_access(words), *named])


def _access(words: Collection[str]) -> list[str]:
    """To the kernel ``allow_root`` is ``allow_other``: libfuse then turns the others away."""
    others = ["allow_other"] if {"allow_other", "allow_root"} & set(words) else []
    return ["default_permissions", *others]


def _hint(exc: OSError) -> str:
    return HINTS.get(exc.errno or 0, "")


def _call_mount(mountpoint: Path, source: Path, words: Collection[str], data: str) -> None:
    arguments = [os.fsencode(source), os.fsencode(mountpoint), TYPE.encode()]
    if _LIBC.mount(*arguments, ctypes.c_ulong(flags_of(words)), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount_by_fusermount(mountpoint: Path, source: Path, words: Collection[str]) -> int:
    """fusermount3 sends the descriptor through the socket that ``_FUSE_COMMFD`` names."""
    program = find_program("fusermount3")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        options = fusermount_options(source, words)
        done = subprocess.run(
            [program, "-o", options, "--", os.fspath(mountpoint)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
        )
        theirs.close()
        _, received, _, _ = socket.recv_fds(ours, 1, _ONE_INT)
    if done.returncode != 0 or not received:
        said = done.stderr.strip().removeprefix(f"{program}: ")
        raise MountFailed(f"{mountpoint}: fusermount3 refused the mount: {said or 'no reason'}")
    os.set_inheritable(received[0], False)  # noqa: FBT003 - the only argument there is
    return received[0]


# ------------------------------------------------------------------ beneath another mount

# mount(2) mounts on top, so that the dead mount would have to go first. From Linux 6.5 on,
# move_mount(2) puts a mount beneath the topmost one (MOVE_MOUNT_BENEATH), which is then unmounted.

OPEN_TREE, MOVE_MOUNT = 428, 429
"""Numbers of the system calls, the same on every architecture (asm-generic/unistd.h)."""

CLONE: Final = 1 | os.O_CLOEXEC
"""OPEN_TREE_CLONE and OPEN_TREE_CLOEXEC (linux/mount.h)."""
BENEATH: Final = 0x200 | 4
"""MOVE_MOUNT_BENEATH and MOVE_MOUNT_F_EMPTY_PATH."""
AT_FDCWD: Final = -100
MNT_DETACH: Final = 2


def _put_beneath(mountpoint: Path, mount: Callable[[Path], object]) -> None:
    """Call ``mount`` with a directory of its own, then move the mount beneath ``mountpoint``.

    A mount cannot be moved from beneath a shared one, so a detached copy of it is moved.

    Raises:
        OSError: it failed, or the kernel cannot do it; then nothing is mounted.
    """
    home = runtime_directory(os.geteuid())
    make_private(home)
    with ExitStack() as cleared:
        place = Path(tempfile.mkdtemp(prefix=".mount-", dir=home))
        cleared.callback(place.rmdir)
        mount(place)
        path = os.fsencode(place)
        cleared.callback(_LIBC.umount2, path, MNT_DETACH)
        copy = _call(OPEN_TREE, AT_FDCWD, path, CLONE)
        cleared.callback(os.close, copy)
        _call(MOVE_MOUNT, copy, b"", AT_FDCWD, os.fsencode(mountpoint), BENEATH)


def _call(number: int, *arguments: bytes | int) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
