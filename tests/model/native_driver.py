"""Any mounted directory as a filesystem under test."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path as OsPath

from tests.model.driver import LINUX, FallocateMode, Path, RenameFlags, Stat, Traits, XattrFlags
from tests.model.renameat2 import renameat2
from tierfs.common.ranges import fallocate

_QUIET = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NativeDriver:
    """Calls of the operating system, in a directory `tree` that it makes and takes away."""

    def __init__(self, directory: OsPath, traits: Traits = LINUX) -> None:
        self.traits = traits
        self._directory = directory / "tree"
        self._directory.mkdir(0o755)
        self._handles: dict[int, int] = {}
        self._root = self._open_root()

    # Names

    def create(self, path: Path, mode: int) -> None:
        """open(O_CREAT | O_EXCL), and close."""
        with self._opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode):
            pass

    def mkdir(self, path: Path, mode: int) -> None:
        """mkdir(2), which takes the permission bits and the sticky bit."""
        os.mkdir(_relative(path), mode, dir_fd=self._root)

    def mknod(self, path: Path, mode: int) -> None:
        """mknod(2) of a FIFO or a socket."""
        os.mknod(_relative(path), mode, dir_fd=self._root)

    def symlink(self, target: bytes, path: Path) -> None:
        """symlink(2)."""
        os.symlink(target, _relative(path), dir_fd=self._root)

    def link(self, existing: Path, path: Path) -> None:
        """link(2)."""
        old, new = _relative(existing), _relative(path)
        os.link(old, new, src_dir_fd=self._root, dst_dir_fd=self._root, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        os.unlink(_relative(path), dir_fd=self._root)

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""
        os.rmdir(_relative(path), dir_fd=self._root)

    def rename(self, source: Path, target: Path, flags: RenameFlags) -> None:
        """renameat2(2)."""
        renameat2(self._root, _relative(source), _relative(target), flags)

    def readlink(self, path: Path) -> bytes:
        """readlink(2)."""
        return os.readlink(_relative(path), dir_fd=self._root)

    def readdir(self, path: Path) -> list[bytes]:
        """The names in a directory, sorted."""
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME) as descriptor:
            return sorted(os.fsencode(name) for name in os.listdir(descriptor))

    # Bytes

    def read(self, path: Path, offset: int, length: int) -> bytes:
        """pread(2) until `length` bytes or the end."""
        with self._opened(path, os.O_RDONLY | os.O_NOATIME) as descriptor:
            return _pread(descriptor, offset, length)

    def write(self, path: Path, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        with self._opened(path, os.O_WRONLY) as descriptor:
            return os.pwrite(descriptor, data, offset)

    def append(self, path: Path, data: bytes) -> int:
        """write(2) at the end."""
        with self._opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
            return os.write(descriptor, data)

    def rewrite(self, path: Path, data: bytes) -> int:
        """open(O_WRONLY | O_CREAT | O_TRUNC, 0644) and write(2)."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with self._opened(path, flags, 0o644) as descriptor:
            return os.write(descriptor, data)

    def truncate(self, path: Path, size: int) -> None:
        """truncate(2)."""
        os.truncate(self._absolute(path), size)

    # Attributes

    def stat(self, path: Path) -> Stat:
        """lstat(2)."""
        return _stat(os.stat(_relative(path), dir_fd=self._root, follow_symlinks=False))

    def chmod(self, path: Path, mode: int) -> None:
        """chmod(2)."""
        os.chmod(_relative(path), mode, dir_fd=self._root)

    def chown(self, path: Path, uid: int, gid: int) -> None:
        """lchown(2)."""
        os.chown(_relative(path), uid, gid, dir_fd=self._root, follow_symlinks=False)

    def utimens(self, path: Path, atime_ns: int, mtime_ns: int) -> None:
        """utimensat(2)."""
        times = (atime_ns, mtime_ns)
        os.utime(_relative(path), ns=times, dir_fd=self._root, follow_symlinks=False)

    def setxattr(self, path: Path, name: bytes, value: bytes, flags: XattrFlags) -> None:
        """lsetxattr(2)."""
        os.setxattr(self._absolute(path), name, value, int(flags), follow_symlinks=False)

    def getxattr(self, path: Path, name: bytes) -> bytes:
        """lgetxattr(2)."""
        return os.getxattr(self._absolute(path), name, follow_symlinks=False)

    def removexattr(self, path: Path, name: bytes) -> None:
        """lremovexattr(2)."""
        os.removexattr(self._absolute(path), name, follow_symlinks=False)

    def listxattr(self, path: Path) -> list[bytes]:
        """llistxattr(2), sorted."""
        names = os.listxattr(self._absolute(path), follow_symlinks=False)
        return sorted(os.fsencode(name) for name in names)

    # Open files

    def open(self, path: Path, handle: int) -> None:
        """open(O_RDWR)."""
        flags = os.O_RDWR | os.O_NOATIME | _QUIET
        self._handles[handle] = os.open(_relative(path), flags, dir_fd=self._root)

    def pread(self, handle: int, offset: int, length: int) -> bytes:
        """pread(2) until `length` bytes or the end."""
        return _pread(self._handles[handle], offset, length)

    def pwrite(self, handle: int, offset: int, data: bytes) -> int:
        """pwrite(2)."""
        return os.pwrite(self._handles[handle], data, offset)

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""
        os.ftruncate(self._handles[handle], size)

    def fallocate(self, handle: int, mode: FallocateMode, offset: int, length: int) -> None:
        """fallocate(2)."""
        fallocate(self._handles[handle], mode, offset, length)

    def copy_range(self, source: int, offset: int, target: int, to: int, length: int) -> int:
        """copy_file_range(2)."""
        handles = self._handles
        return os.copy_file_range(handles[source], handles[target], length, offset, to)

    def fstat(self, handle: int) -> Stat:
        """fstat(2)."""
        return _stat(os.fstat(self._handles[handle]))

    def fsync(self, handle: int) -> None:
        """fsync(2)."""
        os.fsync(self._handles[handle])

    def close(self, handle: int) -> None:
        """close(2)."""
        os.close(self._handles.pop(handle))

    # The filesystem

    def remount(self) -> None:
        """Take the filesystem down and up again; only `bring_down` and `bring_up` know how."""
        os.close(self._root)
        self.bring_down()
        self.bring_up()
        self._root = self._open_root()

    def crash(self) -> None:
        """Kill the filesystem; what was open of it is dead and closes with an error."""
        self.kill()
        for descriptor in self._handles.values():
            with suppress(OSError):
                os.close(descriptor)
        self._handles.clear()
        os.close(self._root)
        self.bring_up()
        self._root = self._open_root()

    def bring_down(self) -> None:
        """Nothing: a directory of a native filesystem stays mounted."""

    def bring_up(self) -> None:
        """Nothing."""

    def kill(self) -> None:
        """Nothing."""

    def forget(self) -> None:
        """Write the pages of every file down and drop them, so that reads ask the filesystem."""
        for path in self._files(()):
            with self._opened(path, os.O_RDONLY | os.O_NOATIME) as descriptor:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def verify(self) -> None:
        """Nothing: all that a native filesystem shows has been compared."""

    def finish(self) -> None:
        """Close what is open and remove the directory with everything in it."""
        for handle in list(self._handles):
            self.close(handle)
        for _, directories, names, parent in os.fwalk(b".", topdown=False, dir_fd=self._root):
            for name in names:
                os.unlink(name, dir_fd=parent)
            for name in directories:
                os.rmdir(name, dir_fd=parent)
        os.close(self._root)
        self._directory.rmdir()

    def _files(self, directory: Path) -> Iterator[Path]:
        """Every regular file below; unlike os.fwalk, looking changes no access time."""
        for name in self.readdir(directory):
            path = (*directory, name)
            mode = self.stat(path).mode
            if stat.S_ISDIR(mode):
                yield from self._files(path)
            elif stat.S_ISREG(mode):
                yield path

    def _open_root(self) -> int:
        return os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _absolute(self, path: Path) -> bytes:
        return b"/".join((os.fsencode(self._directory), *path))

    @contextmanager
    def _opened(self, path: Path, flags: int, mode: int = 0) -> Iterator[int]:
        descriptor = os.open(_relative(path), flags | _QUIET, mode, dir_fd=self._root)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _relative(path: Path) -> bytes:
    return b"/".join(path) or b"."


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while 0 < len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _stat(found: os.stat_result) -> Stat:
    return Stat(
        ino=found.st_ino,
        mode=found.st_mode,
        nlink=found.st_nlink,
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size,
        atime_ns=found.st_atime_ns,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
    )
