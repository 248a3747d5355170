"""stat, statx, statvfs, access, faccessat2, and what they show."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from ctypes import c_long

from tests.parity.actors import ACTORS, WHO, as_actor
from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make, owned

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_EMPTY_PATH = 0x1000
AT_STATX_FORCE_SYNC = 0x2000
AT_STATX_DONT_SYNC = 0x4000
FACCESSAT2 = 439
STATX_BASIC = 0x7FF
STATX_BTIME = 0x800
STATX_MNT_ID = 0x1000
STATX_DIOALIGN = 0x2000
STATX_ATTR_OF_FILE = 0x10 | 0x20 | 0x40 | 0x800
"""STATX_ATTR_IMMUTABLE, _APPEND, _NODUMP, _ENCRYPTED."""

_HEAD = struct.Struct("<IIQIIIHxxQQQQ")
"""struct statx up to stx_attributes_mask."""


def _statx(place: Place, path: bytes, mask: int, flags: int = 0, fd: int = AT_FDCWD) -> bytes:
    buffer = ctypes.create_string_buffer(256)
    place.libc.statx(fd, path, flags, mask, buffer)
    return buffer.raw


def _basic(raw: bytes) -> tuple[int, ...]:
    mask, _blksize, attributes, nlink, uid, gid, mode, _ino, size, _blocks, _known = (
        _HEAD.unpack_from(raw)
    )
    shown = 0 if stat.S_ISDIR(mode) else size
    return mask & STATX_BASIC, attributes & STATX_ATTR_OF_FILE, nlink, uid, gid, mode, shown


@case.each(kind=[*KINDS, "symlink"])
def statx_of_kinds(place: Place, kind: str) -> object:
    path = os.fsencode(owned(place / "it", kind))
    return _basic(_statx(place, path, STATX_BASIC, AT_SYMLINK_NOFOLLOW))


@case.each(flags=[AT_STATX_FORCE_SYNC, AT_STATX_DONT_SYNC, 0x6000, 0x8000])
def statx_sync_flags(place: Place, flags: int) -> object:
    path = os.fsencode(make(place / "it"))
    return place.attempt(lambda: _basic(_statx(place, path, STATX_BASIC, flags)))


@case
def statx_of_a_descriptor(place: Place) -> object:
    make(place / "it")
    with place.opened("it", os.O_PATH) as fd:
        return _basic(_statx(place, b"", STATX_BASIC, AT_EMPTY_PATH, fd))


@case
def statx_reserved_mask(place: Place) -> object:
    path = os.fsencode(make(place / "it"))
    return place.attempt(lambda: _basic(_statx(place, path, 0x80000000)))


@case
def statx_mount_id_is_given(place: Place) -> object:
    path = os.fsencode(make(place / "it"))
    return _HEAD.unpack_from(_statx(place, path, STATX_MNT_ID))[0] & STATX_MNT_ID


@case
def statx_birth_time(place: Place) -> object:
    path = os.fsencode(make(place / "it"))
    return _HEAD.unpack_from(_statx(place, path, STATX_BTIME))[0] & STATX_BTIME


@case.each(size=[0, 1, 511, 512, 4095, 4096, 4097, 65536, 65537, 200_000])
def size_and_blocks(place: Place, size: int) -> object:
    facts = place.file(content=b"x" * size).stat()
    with place.opened("file") as fd:
        os.fsync(fd)  # ext4 counts blocks when it allocates them
    return facts.st_size, place.path.joinpath("file").stat().st_blocks


@case.each(length=[1, 59, 60, 200, 4095])
def size_of_symlinks(place: Place, length: int) -> object:
    place.symlink("it", "x" * length)
    return place.stat("it")


@case.each(major=[0, 1, 255, 4095], minor=[0, 255, 256, 1048575])
def device_numbers(place: Place, major: int, minor: int) -> object:
    device = os.makedev(major, minor)
    done = [
        place.attempt(os.mknod, place / name, kind | 0o644, device)
        for name, kind in (("char", stat.S_IFCHR), ("block", stat.S_IFBLK))
    ]
    return done, place.stat("char", "block")


@case.each(kind=["fifo", "socket", "file"])
def device_number_of_what_is_none(place: Place, kind: str) -> object:
    types = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "file": stat.S_IFREG}
    done = place.attempt(os.mknod, place / "it", types[kind] | 0o600, os.makedev(5, 6))
    return done, place.stat("it")


@case
def inode_numbers_tell_files_apart(place: Place) -> object:
    make(place / "a")
    make(place / "b")
    os.link(place / "a", place / "c")
    numbers = [(place / name).stat().st_ino for name in "abc"]
    listed = {entry.name: entry.inode() for entry in os.scandir(place.path)}
    return (
        numbers[0] == numbers[2],
        numbers[0] == numbers[1],
        [listed[name] for name in "abc"] == numbers,
    )


@case
def one_device_for_all(place: Place) -> object:
    make(place / "d", "directory")
    make(place / "d" / "f")
    return len({path.stat().st_dev for path in (place.path, place / "d", place / "d" / "f")})


@case
def directory_types_in_a_listing(place: Place) -> object:
    for kind in (*KINDS, "symlink"):
        make(place / kind, kind)
    return sorted(
        (entry.name, entry.is_file(), entry.is_dir(), entry.is_symlink())
        for entry in os.scandir(place.path)
    )


@case
def statvfs_limits(place: Place) -> object:
    make(place / "it")
    facts = os.statvfs(place / "it")
    with place.opened("it") as fd:
        by_descriptor = os.fstatvfs(fd)
    return (
        facts.f_namemax,
        facts.f_frsize,
        facts.f_flag & os.ST_RDONLY,
        facts.f_bavail <= facts.f_bfree <= facts.f_blocks,
        facts.f_favail <= facts.f_ffree <= facts.f_files,
        by_descriptor.f_namemax,
        facts.f_blocks > 0,
        facts.f_files > 0,
    )


@case
def statvfs_flags(place: Place) -> object:
    flags = os.statvfs(place.path).f_flag
    return flags & os.ST_NOSUID, flags & os.ST_NODEV, flags & os.ST_NOEXEC, flags & os.ST_RDONLY


@case
def statvfs_sees_what_is_written(place: Place) -> object:
    """At least once in some attempts: others may free as much meanwhile on the same device."""
    for attempt in range(10):
        before = os.statvfs(place.path)
        with place.opened(f"{attempt}", os.O_CREAT | os.O_WRONLY) as fd:
            os.write(fd, b"x" * 1_000_000)
            os.fsync(fd)
        after = os.statvfs(place.path)
        if before.f_bfree - after.f_bfree > 100 and before.f_ffree - after.f_ffree >= 1:
            return True
    return False


@case.each(name=["PC_NAME_MAX", "PC_PATH_MAX", "PC_PIPE_BUF", "PC_NO_TRUNC", "PC_SYMLINK_MAX"])
def pathconf(place: Place, name: str) -> object:
    return place.attempt(os.pathconf, place.path, name)


def _access(place: Place, path: bytes, mode: int, flags: int) -> object:
    return place.attempt(
        place.libc.long, "syscall", c_long(FACCESSAT2), c_long(AT_FDCWD), path, c_long(mode), flags
    )


@case.each(who=list(WHO), mode=[0, 0o100, 0o440, 0o640, 0o754, 0o777])
def access(place: Place, who: str, mode: int) -> object:
    path = os.fsencode(owned(place / "it", mode=mode))
    folder = os.fsencode(owned(place / "folder", "directory", mode))

    def ask() -> object:
        return [_access(place, it, asked, 0) for it in (path, folder) for asked in range(8)]

    return as_actor(place, who, ask)


@case.each(flags=[AT_EACCESS, AT_SYMLINK_NOFOLLOW, AT_EACCESS | AT_SYMLINK_NOFOLLOW, 1])
def access_flags(place: Place, flags: int) -> object:
    target = owned(place / "target", mode=0o600)
    link = os.fsencode(place.symlink("it", "target"))

    def ask() -> object:
        return [_access(place, link, asked, flags) for asked in (0, 4, 2, 1)]

    return target.name, as_actor(place, "other", ask), as_actor(place, "owner", ask)


@case.each(mode=[8, -1, 16])
def access_unknown_mode(place: Place, mode: int) -> object:
    return _access(place, os.fsencode(make(place / "it")), mode, 0)


@case
def access_asks_for_the_real_user(place: Place) -> object:
    path = os.fsencode(owned(place / "it", mode=0o600))

    def ask() -> object:
        os.setresuid(ACTORS["other"].uid, 0, 0)
        return [_access(place, path, 4, 0), _access(place, path, 4, AT_EACCESS)]

    return place.in_child(ask)


@case.each(mode=[0, 0o001, 0o010, 0o100, 0o644, 0o666])
def root_may_execute_what_somebody_may(place: Place, mode: int) -> object:
    path = make(place / "it", mode=mode)
    folder = make(place / "folder", "directory", mode)
    return [os.access(it, asked) for it in (path, folder) for asked in (4, 2, 1)]


@case.each(kind=[*KINDS, "symlink"])
def access_of_kinds(place: Place, kind: str) -> object:
    owned(place / "it", kind, 0o640)
    path = os.fsencode(place / "it")
    return [
        as_actor(place, who, _access, place, path, asked, AT_SYMLINK_NOFOLLOW)
        for who in ("owner", "member", "other")
        for asked in (4, 2, 1)
    ]
