"""What a filesystem that is mounted read-only refuses (EROFS), and what it does not."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from tests.parity.harness import Place, case
from tests.parity.making import MAKERS

USER = 1000
AT_FDCWD = -100


def rename(place: Place, source: str, target: str, flags: int) -> int:
    """renameat2(2)."""
    paths = [os.fsencode(place / name) for name in (source, target)]
    return place.libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags)


def opened(path: os.PathLike[str], flags: int) -> None:
    """Open and close."""
    os.close(os.open(path, flags, 0o644))


NAMES = ["file", "missing", "directory", "symlink", "file/x", "missing/x", "fifo"]


@case.read_only.each(call=MAKERS, name=NAMES, user=[0, USER])
def make(place: Place, call: str, name: str, user: int) -> object:
    return place.as_user(user, user, [], MAKERS[call], place / name)


REMOVERS: dict[str, Callable[..., None]] = {"unlink": os.unlink, "rmdir": os.rmdir}


@case.read_only.each(call=REMOVERS, name=[*NAMES, "full"], user=[0, USER])
def remove(place: Place, call: str, name: str, user: int) -> object:
    return place.as_user(user, user, [], REMOVERS[call], place / name)


@case.read_only.each(
    paths=[
        ("file", "new"),
        ("file", "other"),
        ("file", "link"),
        ("file", "file"),
        ("missing", "new"),
        ("file", "directory"),
        ("directory", "full"),
        ("directory", "directory/x"),
        ("file", "missing/x"),
    ],
    flags=[0, 1, 2],
)
def rename_names(place: Place, paths: tuple[str, str], flags: int) -> object:
    return place.attempt(rename, place, *paths, flags)


@case.read_only.each(source=NAMES, target=["new", "other", "missing/x"])
def link(place: Place, source: str, target: str) -> object:
    return place.attempt(os.link, place / source, place / target)


FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY,
    "both": os.O_RDWR,
    "append": os.O_WRONLY | os.O_APPEND,
    "truncate": os.O_RDONLY | os.O_TRUNC,
    "creat": os.O_RDONLY | os.O_CREAT,
    "creat_write": os.O_WRONLY | os.O_CREAT,
    "creat_new": os.O_RDONLY | os.O_CREAT | os.O_EXCL,
    "path": os.O_PATH,
    "directory": os.O_RDONLY | os.O_DIRECTORY,
    "nofollow": os.O_RDONLY | os.O_NOFOLLOW,
    "nonblock": os.O_RDONLY | os.O_NONBLOCK,
}


@case.read_only.each(
    flags=FLAGS, name=["file", "missing", "directory", "symlink", "missing/x"], user=[0, USER]
)
def open_flags(place: Place, flags: str, name: str, user: int) -> object:
    return place.as_user(user, user, [], opened, place / name, FLAGS[flags])


CHANGES: dict[str, Callable[[str], None]] = {
    "chmod": lambda path: os.chmod(path, 0o600),
    "chown": lambda path: os.chown(path, 1, 1),
    "lchown": lambda path: os.lchown(path, 1, 1),
    "chown_nothing": lambda path: os.chown(path, -1, -1),
    "utime": os.utime,
    "lutime": lambda path: os.utime(path, ns=(1, 2), follow_symlinks=False),
    "truncate": lambda path: os.truncate(path, 0),
    "setxattr": lambda path: os.setxattr(path, "user.label", b"new"),
    "setxattr_trusted": lambda path: os.setxattr(path, "trusted.label", b"new"),
    "removexattr": lambda path: os.removexattr(path, "user.label"),
    "removexattr_missing": lambda path: os.removexattr(path, "user.none"),
}


@case.read_only.each(
    call=CHANGES, name=["file", "missing", "directory", "symlink", "fifo"], user=[0, USER]
)
def change(place: Place, call: str, name: str, user: int) -> object:
    return place.as_user(user, user, [], CHANGES[call], os.fspath(place / name))


@case.read_only.each(mode=[os.F_OK, os.R_OK, os.W_OK, os.X_OK], user=[0, USER], name=NAMES)
def access(place: Place, mode: int, user: int, name: str) -> object:
    return place.as_user(user, user, [], os.access, place / name, mode)


DESCRIPTOR_CALLS: dict[str, Callable[[int], object]] = {
    "fchmod": lambda fd: os.fchmod(fd, 0o600),
    "fchown": lambda fd: os.fchown(fd, 1, 1),
    "futimens": lambda fd: os.utime(fd, ns=(1, 2)),
    "fsetxattr": lambda fd: os.setxattr(fd, "user.a", b"b"),
    "ftruncate": lambda fd: os.ftruncate(fd, 0),
    "write": lambda fd: os.write(fd, b"x"),
    "fsync": os.fsync,
    "fdatasync": os.fdatasync,
    "read": lambda fd: os.read(fd, 100),
    "getxattr": lambda fd: os.getxattr(fd, "user.label"),
    "listxattr": os.listxattr,
    "posix_fallocate": lambda fd: os.posix_fallocate(fd, 0, 10),
}


@case.read_only.each(call=DESCRIPTOR_CALLS)
def by_descriptor(place: Place, call: str) -> object:
    with place.opened("file") as fd:
        return place.attempt(DESCRIPTOR_CALLS[call], fd)


@case.read_only
def everything_can_be_read(place: Place) -> object:
    return place.tree()


@case.read_only
def fifo_can_be_used(place: Place) -> object:
    with (
        place.opened("fifo", os.O_RDONLY | os.O_NONBLOCK) as reading,
        place.opened("fifo", os.O_WRONLY) as writing,
    ):
        return os.write(writing, b"through"), os.read(reading, 100)


@case.read_only
def flags_of_the_filesystem(place: Place) -> object:
    facts = os.statvfs(place.path)
    return facts.f_flag & os.ST_RDONLY, facts.f_namemax


@case.read_only
def reading_touches_nothing(place: Place) -> object:
    return place.touched(["file", "symlink"], (place / "symlink").read_bytes)


@case.read_only
def writable_mappings(place: Place) -> object:
    """A private writable mapping is fine, a shared one of a file opened for reading is not."""
    mmap = place.libc.raw["mmap"]
    mmap.restype = ctypes.c_void_p
    results = []
    with place.opened("file") as fd:
        for flags in (1, 2):
            ctypes.set_errno(0)
            address = mmap(None, ctypes.c_size_t(4096), 3, flags, fd, ctypes.c_long(0))
            failed = address == ctypes.c_void_p(-1).value
            results.append(ctypes.get_errno() if failed else "mapped")
            if not failed:
                place.libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(4096))
    return results
