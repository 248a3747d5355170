"""One file, directory, link or device copied with all that belongs to it.

Bytes with their holes, owner, mode, times in nanoseconds, extended attributes and ACLs. Sources and
targets are named in an open directory, so that nobody can lead a copy elsewhere by a symbolic link.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import xattr

from tierfs.common.beneath import open_file
from tierfs.common.ranges import NO_CLONE, clone_range, copy_data
from tierfs.common.tierfs_xattrs import ADOPTED, MIRRORED, NO, PREFIX, YES
from tierfs.storage.layout import object_path

TEMPORARY: Final = b".tierfs-export-"
"""What the names of files begin with that are not complete."""

TRIES: Final = 3
"""Copies of a file that changes meanwhile."""

MEANINGLESS: Final = ("security.selinux",)
"""Attributes that the target's own rules give a file."""
NOT_TAKEN: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EPERM, errno.E2BIG, errno.ENOSPC, errno.ERANGE}
)


class Changed(Exception):
    """The source changed each time while it was copied."""


class Place(NamedTuple):
    """A name in an open directory."""

    directory: int
    name: bytes

    @property
    def path(self) -> bytes:
        """A path of it that no rename above it changes, for calls without ``dir_fd``."""
        return b"/proc/self/fd/%d/%s" % (self.directory, self.name)

    def status(self) -> os.stat_result:
        """As lstat(2)."""
        return os.lstat(self.name, dir_fd=self.directory)

    def rename(self, target: Place) -> None:
        """Give what has this name another one, in the place of what has that."""
        os.rename(self.name, target.name, src_dir_fd=self.directory, dst_dir_fd=target.directory)

    def discard(self) -> None:
        """Remove what has this name, if anything has."""
        with suppress(OSError):
            os.unlink(self.name, dir_fd=self.directory)

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Return a descriptor; OSError with ELOOP for a symbolic link (O_NOFOLLOW)."""
        return os.open(self.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self.directory)


def temporary(target: Place) -> Place:
    """A new name beside another, for what is not complete yet."""
    return Place(target.directory, TEMPORARY + secrets.token_hex(8).encode())


class Attributes(NamedTuple):
    """What a file has beside its bytes; times in nanoseconds."""

    mode: int
    uid: int
    gid: int
    atime: int
    mtime: int
    xattrs: dict[str, bytes]
    """ACLs too."""

    def agrees(self, other: Attributes) -> bool:
        """Whether both are the same, but for the atime."""
        return self._replace(atime=0) == other._replace(atime=0)


class Copied(NamedTuple):
    """What became of one file's bytes."""

    bytes: int
    """That it has, without holes."""
    shared: bool
    """Whether its blocks are shared with an object rather than copied (ioctl_ficlonerange(2))."""
    lost: tuple[str, ...]
    """Attributes that the target does not take."""


class DiskObjects:
    """The objects of a mounted volume's disk tier, in the directory ``root``, for reflinks.

    Raises from the constructor:
        OSError: the directory cannot be opened, as by others than root.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._root)

    def share(self, fd: int, out: int, size: int) -> bool:
        """Let ``out`` share all blocks of a file of the mount; False: that cannot be done.

        Where the bytes are is compared before and after: a file that moves meanwhile may leave its
        object. That the file itself did not change, the caller checks.

        Raises:
            OSError: the target takes nothing more, or a device failed.
        """
        before = self._where(fd)
        if not size or before[0] != YES or before[2] != NO:  # the owner may change an original
            return False
        os.fdatasync(fd)  # what was stored to a mapping is in no object before
        try:
            found = open_file(object_path(os.fstat(fd).st_ino), os.O_RDONLY, dir_fd=self._root)
        except OSError:
            return False
        try:
            clone_range(out, 0, 0, found, 0)  # length 0: to the object's end
        except OSError as error:
            if error.errno not in NO_CLONE:
                raise
            return False
        finally:
            os.close(found)
        return os.fstat(out).st_size >= size and self._where(fd) == before

    @staticmethod
    def _where(fd: int) -> tuple[bytes, bytes, bytes]:
        try:
            return os.getxattr(fd, MIRRORED), os.getxattr(fd, PREFIX), os.getxattr(fd, ADOPTED)
        except OSError:
            return b"", b"", b""


def copy_file(source: Place, target: Place, objects: DiskObjects | None) -> Copied:
    """Make ``target``, which is new, a copy of a regular file.

    With ``objects`` it shares blocks where it can. A source that changes is copied again.

    Raises:
        Changed: it changed each time.
        OSError: it could not be copied.
    """
    fd = source.open(os.O_RDONLY | os.O_NONBLOCK)
    try:
        out = target.open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            for _ in range(TRIES):
                before = os.fstat(fd)
                os.ftruncate(out, 0)
                shared = objects is not None and objects.share(fd, out, before.st_size)
                if not shared:
                    os.ftruncate(out, 0)
                written = before.st_size if shared else copy_data(fd, out, before.st_size)
                os.ftruncate(out, before.st_size)
                lost = copy_attributes(fd, out, before)
                if _same(before, os.fstat(fd)):
                    return Copied(written, shared, lost)
            raise Changed
        finally:
            os.close(out)
    finally:
        os.close(fd)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def copy_other(source: Place, target: Place, status: os.stat_result) -> tuple[str, ...]:
    """Make ``target``, which is new, a copy of a link, FIFO, socket or device.

    Returns the attributes that the target does not take.

    Raises:
        OSError: it could not be made.
    """
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(source.name, dir_fd=source.directory)
        os.symlink(content, target.name, dir_fd=target.directory)
    else:
        os.mknod(target.name, status.st_mode, status.st_rdev, dir_fd=target.directory)
    return copy_attributes(source.path, target.path, status)


def copy_attributes(
    source: int | bytes, target: int | bytes, status: os.stat_result
) -> tuple[str, ...]:
    """Give ``target`` what the source has, of which ``status`` is known; as ``set_attributes``."""
    return set_attributes(target, attributes_of(source, status))


def attributes_of(source: int | bytes, status: os.stat_result) -> Attributes:
    """The attributes of a file, by a descriptor or a path; ``status``: what stat(2) says of it.

    Raises:
        OSError: they cannot be read.
    """
    wanted = {}
    if names := _names(source):
        read = xattr.xattr(source, 0 if isinstance(source, int) else xattr.XATTR_NOFOLLOW)
        for name in sorted(names):
            try:
                wanted[name] = bytes(read.get(name))
            except OSError as error:
                if error.errno != errno.ENODATA:  # removed meanwhile
                    raise
    return Attributes(
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_atime_ns,
        status.st_mtime_ns,
        wanted,
    )


def set_attributes(target: int | bytes, attributes: Attributes) -> tuple[str, ...]:
    """Give ``target`` owner, mode, extended attributes, ACLs and times.

    Either by descriptor, or by a path whose last part is not followed. Owners only as root: others
    keep the file, as with cp -a. Returns the names of extended attributes that could not be set.

    Raises:
        OSError: it could not be done.
    """
    follow = isinstance(target, int)
    try:
        os.chown(target, attributes.uid, attributes.gid, follow_symlinks=follow)
    except PermissionError:
        if os.geteuid() == 0:
            raise
    if not stat.S_ISLNK(attributes.mode):
        os.chmod(target, stat.S_IMODE(attributes.mode))  # noqa: PTH101 - it may be a descriptor
    lost = _set_xattrs(target, attributes.xattrs)
    os.utime(target, ns=(attributes.atime, attributes.mtime), follow_symlinks=follow)
    return lost


def _names(attributes: int | bytes) -> set[str]:
    # Not by the package, which takes every name for UTF-8.
    try:
        names = os.listxattr(attributes, follow_symlinks=isinstance(attributes, int))
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EPERM}:
            raise
        return set()
    return {name for name in names if name not in MEANINGLESS}


def _set_xattrs(target: int | bytes, wanted: dict[str, bytes]) -> tuple[str, ...]:
    present = _names(target)
    if not wanted and not present:
        return ()
    write = xattr.xattr(target, 0 if isinstance(target, int) else xattr.XATTR_NOFOLLOW)
    for name in present - wanted.keys():  # an ACL that the directory gave it
        with suppress(OSError):
            write.remove(name)
    lost = []
    for name, value in wanted.items():
        try:
            write.set(name, value)
        except OSError as error:
            if error.errno not in NOT_TAKEN:
                raise
            lost.append(name)
    return tuple(lost)
