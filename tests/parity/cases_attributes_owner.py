"""chown, lchown, fchown, fchownat, as root."""

from __future__ import annotations

import os
from ctypes import c_uint

from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make

AT_EMPTY_PATH = 0x1000
AT_FDCWD = -100
KEEP = -1
LARGEST = 2**32 - 2


@case.each(kind=[*KINDS, "symlink"])
def chown_kinds(place: Place, kind: str) -> object:
    path = make(place / "it", kind)
    return place.touched(["it", "."], os.lchown, path, 11, 12), place.stat("it")


@case.each(uid=[KEEP, 0, 7, 65534, 65536, LARGEST], gid=[KEEP, 0, 7, LARGEST])
def chown_values(place: Place, uid: int, gid: int) -> object:
    path = make(place / "it")
    os.chown(path, 3, 4)
    return place.touched(["it"], os.chown, path, uid, gid), place.stat("it")


@case.each(uid=[KEEP, 0], gid=[KEEP, 0])
def chown_to_the_same(place: Place, uid: int, gid: int) -> object:
    path = make(place / "it")
    return place.touched(["it"], os.chown, path, uid, gid), place.stat("it")


@case.each(
    kind=["file", "directory", "fifo"],
    mode=[0o4755, 0o2755, 0o2644, 0o6755, 0o6644, 0o6711],
    uid=[KEEP, 5],
    gid=[KEEP, 6],
)
def chown_clears_set_id(place: Place, kind: str, mode: int, uid: int, gid: int) -> object:
    path = make(place / "it", kind, mode)
    return place.touched(["it"], os.chown, path, uid, gid), place.stat("it")


@case
def chown_follows_symlinks(place: Place) -> object:
    make(place / "target")
    link = make(place / "it", "symlink")
    return place.touched(["target", "it"], os.chown, link, 5, 6), place.stat("target", "it")


@case
def lchown_changes_the_symlink(place: Place) -> object:
    make(place / "target")
    link = make(place / "it", "symlink")
    return place.touched(["target", "it"], os.lchown, link, 5, 6), place.stat("target", "it")


@case.each(flags=[os.O_RDONLY, os.O_WRONLY, os.O_PATH])
def fchown(place: Place, flags: int) -> object:
    make(place / "it")
    with place.opened("it", flags) as fd:
        return place.touched(["it"], os.fchown, fd, 5, 6), place.stat("it", fd)


@case
def fchown_of_unlinked_file(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it") as fd:
        path.unlink()
        return place.attempt(os.fchown, fd, 5, 6), place.stat(fd)


@case
def fchown_of_set_id_file(place: Place) -> object:
    make(place / "it", mode=0o6755)
    with place.opened("it") as fd:
        return place.attempt(os.fchown, fd, 5, KEEP), place.stat("it", fd)


@case.each(kind=["file", "symlink"])
def fchownat_with_empty_path(place: Place, kind: str) -> object:
    make(place / "it", kind)
    with place.opened("it", os.O_PATH | os.O_NOFOLLOW) as fd:
        done = place.attempt(place.libc.fchownat, fd, b"", c_uint(5), c_uint(6), AT_EMPTY_PATH)
    return done, place.stat("it")


@case
def fchownat_with_unknown_flag(place: Place) -> object:
    path = os.fsencode(make(place / "it"))
    done = place.attempt(place.libc.fchownat, AT_FDCWD, path, c_uint(5), c_uint(6), 1)
    return done, place.stat("it")


@case
def chown_is_seen_by_other_links(place: Place) -> object:
    path = make(place / "it")
    os.link(path, place / "link")
    os.chown(path, 5, 6)
    return place.stat("link")


@case
def chown_of_the_directory_itself(place: Place) -> object:
    changed = place.touched(["."], os.chown, place.path, 5, 6)
    (place / "inside").touch()
    return changed, place.stat(".", "inside")


@case
def chown_keeps_content_and_xattrs(place: Place) -> object:
    path = make(place / "it")
    os.setxattr(path, "user.label", b"value")
    os.chown(path, 5, 6)
    return place.tree()


@case
def chown_drops_file_capabilities(place: Place) -> object:
    path = make(place / "it", mode=0o755)
    revision_2 = b"\x01\x00\x00\x02" + b"\x01" + bytes(15)
    os.setxattr(path, "security.capability", revision_2)
    os.chown(path, 5, 6)
    return place.tree()
