"""chmod, fchmod, fchmodat2."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable
from ctypes import c_long
from pathlib import Path

from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make, mode_of

FCHMODAT2 = 452
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000


def _fchmodat2(place: Place, path: bytes, mode: int, flags: int, fd: int = AT_FDCWD) -> int:
    assert platform.machine() in {"x86_64", "aarch64"}
    return place.libc.long("syscall", c_long(FCHMODAT2), c_long(fd), path, c_long(mode), flags)


@case.each(
    kind=["file", "directory", "fifo"],
    mode=[0, 0o111, 0o1644, 0o2644, 0o2755, 0o4755, 0o6755, 0o7777],
)
def chmod_bits(place: Place, kind: str, mode: int) -> object:
    path = make(place / "it", kind)
    return place.attempt(os.chmod, path, mode), place.stat("it")


@case.each(kind=["socket", "device"])
def chmod_special(place: Place, kind: str) -> object:
    path = make(place / "it", kind)
    return place.attempt(os.chmod, path, 0o6751), place.stat("it")


@case
def chmod_ignores_type_bits(place: Place) -> object:
    path = make(place / "it")
    return place.attempt(os.chmod, path, 0o140640), place.stat("it")


@case.each(kind=list(KINDS))
def chmod_touches(place: Place, kind: str) -> object:
    path = make(place / "it", kind)
    return place.touched(["it", "."], os.chmod, path, 0o600)


@case
def chmod_to_the_same_touches(place: Place) -> object:
    path = make(place / "it", mode=0o640)
    return place.touched(["it", "."], os.chmod, path, 0o640)


@case
def chmod_is_seen_by_other_links(place: Place) -> object:
    path = make(place / "it")
    os.link(path, place / "link")
    return place.touched(["it", "link", "."], os.chmod, path, 0o600), place.stat("link")


@case
def chmod_follows_symlinks(place: Place) -> object:
    make(place / "target")
    link = make(place / "it", "symlink")
    return place.touched(["target", "it"], os.chmod, link, 0o600), place.stat("target", "it")


@case
def chmod_of_symlink_itself(place: Place) -> object:
    make(place / "target")
    link = os.fsencode(make(place / "it", "symlink"))
    done = place.attempt(_fchmodat2, place, link, 0o600, AT_SYMLINK_NOFOLLOW)
    return done, place.stat("target", "it")


@case.each(kind=["file", "directory"])
def chmod_nofollow(place: Place, kind: str) -> object:
    path = os.fsencode(make(place / "it", kind))
    done = place.attempt(_fchmodat2, place, path, 0o600, AT_SYMLINK_NOFOLLOW)
    return done, place.stat("it")


@case
def chmod_unknown_flag(place: Place) -> object:
    path = os.fsencode(make(place / "it"))
    return place.attempt(_fchmodat2, place, path, 0o600, 1), place.stat("it")


@case
def chmod_of_descriptor_by_empty_path(place: Place) -> object:
    make(place / "it")
    with place.opened("it", os.O_PATH) as fd:
        done = place.attempt(_fchmodat2, place, b"", 0o600, AT_EMPTY_PATH, fd)
    return done, place.stat("it")


@case.each(flags=[os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_PATH])
def fchmod(place: Place, flags: int) -> object:
    make(place / "it")
    with place.opened("it", flags) as fd:
        changed = place.touched(["it"], os.fchmod, fd, 0o4711)
        return changed, place.stat("it", fd)


@case
def fchmod_of_directory(place: Place) -> object:
    make(place / "it", "directory")
    with place.opened("it", os.O_RDONLY | os.O_DIRECTORY) as fd:
        return place.touched(["it", "."], os.fchmod, fd, 0o2711), place.stat("it")


@case
def fchmod_of_unlinked_file(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it", os.O_RDONLY) as fd:
        path.unlink()
        return place.attempt(os.fchmod, fd, 0o4711), place.stat(fd)


@case
def fchmod_of_removed_directory(place: Place) -> object:
    path = make(place / "it", "directory")
    with place.opened("it", os.O_RDONLY | os.O_DIRECTORY) as fd:
        path.rmdir()
        return place.attempt(os.fchmod, fd, 0o711), place.stat(fd)


@case
def chmod_does_not_hinder_open_descriptors(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it", os.O_RDWR) as fd:
        path.chmod(0)
        return os.write(fd, b"more"), os.pread(fd, 100, 0), place.stat(fd)


@case
def mode_zero_directory_is_open_to_root(place: Place) -> object:
    path = make(place / "it", "directory", mode=0)
    (path / "inside").touch()
    return place.attempt(os.listdir, path), place.attempt(os.stat, path / "none")


def _missing(place: Place) -> Path:
    return place / "none"


def _below_file(place: Place) -> Path:
    return make(place / "file") / "none"


def _loop(place: Place) -> Path:
    place.symlink("a", "b")
    place.symlink("b", "a")
    return place / "a"


def _dangling(place: Place) -> Path:
    return place.symlink("a", "none")


def _name_too_long(place: Place) -> Path:
    return place / ("x" * 256)


BAD = [_missing, _below_file, _loop, _dangling, _name_too_long]
BadPath = Callable[[Place], Path]


@case.each(bad=BAD)
def path_errors(place: Place, bad: BadPath) -> object:
    """What leads nowhere, for every call on attributes."""
    path = bad(place)
    calls: dict[str, Callable[[], object]] = {
        "chmod": lambda: os.chmod(path, 0o600),
        "chown": lambda: os.chown(path, 1, 1),
        "lchown": lambda: os.lchown(path, 1, 1),
        "utime": lambda: os.utime(path),
        "lutime": lambda: os.utime(path, follow_symlinks=False),
        "access": lambda: os.access(path, os.F_OK),
        "statvfs": lambda: bool(os.statvfs(path)),
        "stat": lambda: bool(os.stat(path)),
        "lstat": lambda: bool(os.lstat(path)),
        "truncate": lambda: os.truncate(path, 1),
        "setxattr": lambda: os.setxattr(path, "user.x", b""),
        "getxattr": lambda: os.getxattr(path, "user.x"),
        "listxattr": lambda: os.listxattr(path),
        "removexattr": lambda: os.removexattr(path, "user.x"),
    }
    return {name: place.attempt(call) for name, call in calls.items()}


@case
def chmod_survives_rename(place: Place) -> object:
    path = make(place / "it", mode=0o4705)
    path.rename(place / "new")
    return mode_of(place / "new")


@case
def creation_modes(place: Place) -> object:
    """open, mkdir, mknod with every special bit under a zero umask."""
    os.umask(0)
    shown = []
    for number, mode in enumerate([0o777, 0o1777, 0o2777, 0o4777, 0o7777, 0o100644]):
        with contextlib.suppress(OSError):
            os.close(os.open(place / f"f{number}", os.O_CREAT | os.O_WRONLY, mode))
        shown.append(place.attempt(os.mkdir, place / f"d{number}", mode))
        shown.append(place.attempt(os.mkfifo, place / f"p{number}", mode))
    return shown, place.tree()


@case.each(umask=[0, 0o022, 0o027, 0o077, 0o777])
def umask_is_taken_off(place: Place, umask: int) -> object:
    os.umask(umask)
    os.close(os.open(place / "file", os.O_CREAT | os.O_WRONLY, 0o6777))
    os.mkdir(place / "directory", 0o1777)
    os.mkfifo(place / "fifo", 0o777)
    os.mknod(place / "node", 0o100777)
    os.symlink("x", place / "symlink")
    return place.stat("file", "directory", "fifo", "node", "symlink")
