"""Access control lists: what is stored, how they and the mode follow one another, errors."""

from __future__ import annotations

import ctypes
import os
import struct

from tests.parity.acls import ACCESS, DEFAULT, encoded, lists, set_list
from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make

MINIMAL = "u::rw-,g::r--,o::---"
NAMED = "u::rwx,u:11004:r-x,g::r-x,m::rwx,o::--x"
GROUPED = "u::rw-,g::r--,g:11999:rw-,m::rw-,o::r--"
FULL = "u::rwx,u:11003:rwx,u:11004:---,g::r-x,g:11999:r--,g:12000:rwx,m::r-x,o::---"
NARROW = "u::rw-,u:11004:rwx,g::rwx,m::r--,o::---"
LISTS = [MINIMAL, NAMED, GROUPED, FULL, NARROW, "u::---,g::---,o::---", "u::rw-,g::r--,m::rwx,o::-"]


@case.each(kind=["file", "directory", "fifo"], text=LISTS)
def access_list(place: Place, kind: str, text: str) -> object:
    path = make(place / "it", kind, 0o1751 if kind == "directory" else 0o751)
    return place.touched(["it", "."], set_list, path, text), lists(path), place.tree()


@case.each(text=LISTS)
def default_list(place: Place, text: str) -> object:
    path = make(place / "it", "directory", 0o751)
    done = place.touched(["it", "."], set_list, path, text, DEFAULT)
    return done, lists(path), place.tree()


@case.each(text=[MINIMAL, NAMED, ""], name=[ACCESS, DEFAULT], kind=[*KINDS, "symlink"])
def lists_by_kind(place: Place, text: str, name: str, kind: str) -> object:
    path = make(place / "it", kind)
    value = encoded(text) if text else struct.pack("<I", 2)
    calls = (
        lambda: os.setxattr(path, name, value, follow_symlinks=False),
        lambda: os.getxattr(path, name, follow_symlinks=False),
        lambda: os.removexattr(path, name, follow_symlinks=False),
    )
    return [place.attempt(call) for call in calls], place.tree()


@case.each(
    text=[
        "u::rw-",
        "u::rw-,g::r--",
        "g::r--,o::r--",
        "u::rw-,u:5:r--,g::r--,o::---",
        "u::rw-,g::r--,g:5:r--,o::---",
        "u::rw-,u::r--,g::r--,o::---",
        "u::rw-,g::r--,o::---,o::r--",
        "u::rw-,g::r--,m::rw-,m::r--,o::---",
        "o::---,g::r--,u::rw-",
        "u::rw-,u:9:r--,u:5:r--,g::r--,m::rw-,o::---",
        "u::rw-,u:5:r--,u:5:rw-,g::r--,m::rw-,o::---",
        "u::rw-,g::r--,g:5:r--,u:5:r--,m::rw-,o::---",
        "u::rw-,g::r--,u:5:r--,m::rw-,o::---",
        "m::rw-,u::rw-,g::r--,o::---",
    ],
    name=[ACCESS, DEFAULT],
)
def odd_lists(place: Place, text: str, name: str) -> object:
    path = make(place / "it", "directory", 0o751)
    return place.attempt(set_list, path, text, name), lists(path)


VALID = encoded(NAMED)
VALUES = {
    "empty": b"",
    "three bytes": VALID[:3],
    "no entries": VALID[:4],
    "version 1": b"\x01" + VALID[1:],
    "version 3": b"\x03" + VALID[1:],
    "cut": VALID[:-1],
    "too long": VALID + b"\0",
    "unknown tag": VALID[:4] + struct.pack("<HHI", 0x40, 7, 0) + VALID[12:],
    "tag 0": VALID[:4] + struct.pack("<HHI", 0, 7, 0) + VALID[12:],
    "permissions 8": VALID[:4] + struct.pack("<HHI", 1, 8, 0xFFFFFFFF) + VALID[12:],
    "permissions 0xffff": VALID[:4] + struct.pack("<HHI", 1, 0xFFFF, 0xFFFFFFFF) + VALID[12:],
    "owner with a number": VALID[:4] + struct.pack("<HHI", 1, 7, 5) + VALID[12:],
    "user nobody": VALID[:12] + struct.pack("<HHI", 2, 7, 0xFFFFFFFF) + VALID[20:],
    "user -2": VALID[:12] + struct.pack("<HHI", 2, 7, 0xFFFFFFFE) + VALID[20:],
}


@case.each(value=list(VALUES), name=[ACCESS, DEFAULT])
def odd_values(place: Place, value: str, name: str) -> object:
    path = make(place / "it", "directory", 0o751)
    return place.attempt(os.setxattr, path, name, VALUES[value]), lists(path), place.tree()


@case.each(count=[10, 100, 400, 507, 508, 1000])
def many_entries(place: Place, count: int) -> object:
    path = make(place / "it")
    users = ",".join(f"u:{20_000 + number}:r--" for number in range(count))
    done = place.attempt(set_list, path, f"u::rw-,{users},g::r--,m::rw-,o::---")
    return done, len(lists(path)[1])


@case.each(exists=[False, True], flags=[os.XATTR_CREATE, os.XATTR_REPLACE])
def create_and_replace(place: Place, exists: bool, flags: int) -> object:  # noqa: FBT001
    path = make(place / "it")
    if exists:
        set_list(path, NAMED)
    return place.attempt(os.setxattr, path, ACCESS, encoded(GROUPED), flags), lists(path)


@case.each(room=[0, 1, 43, 44, 100])
def get_with_room(place: Place, room: int) -> object:
    path = make(place / "it")
    set_list(path, NAMED)
    buffer = ctypes.create_string_buffer(200)
    name = ACCESS.encode()
    size = ctypes.c_size_t(room)
    done = place.attempt(place.libc.long, "getxattr", os.fsencode(path), name, buffer, size)
    return done, buffer.raw[: done if room and isinstance(done, int) else 0]


@case.each(mode=[0, 0o600, 0o640, 0o660, 0o777, 0o2771, 0o4750], text=[NAMED, FULL, NARROW])
def chmod_changes_the_mask(place: Place, mode: int, text: str) -> object:
    path = make(place / "it")
    set_list(path, text)
    return place.touched(["it"], os.chmod, path, mode), lists(path)


@case
def chmod_leaves_the_default_list(place: Place) -> object:
    path = make(place / "it", "directory")
    set_list(path, NAMED, DEFAULT)
    path.chmod(0o700)
    return lists(path)


@case.each(mode=[0o640, 0o666, 0o000])
def chmod_and_back(place: Place, mode: int) -> object:
    """The named entries are masked and not lost."""
    path = make(place / "it")
    set_list(path, FULL)
    path.chmod(mode)
    first = lists(path)
    path.chmod(0o770)
    return first, lists(path)


@case.each(kind=["file", "directory"])
def chown_leaves_the_lists(place: Place, kind: str) -> object:
    path = make(place / "it", kind, 0o6755)
    set_list(path, FULL)
    if kind == "directory":
        set_list(path, NAMED, DEFAULT)
    return place.touched(["it"], os.chown, path, 11002, 11002), lists(path)


@case.each(name=[ACCESS, DEFAULT])
def remove(place: Place, name: str) -> object:
    path = make(place / "it", "directory", 0o751)
    for each in (ACCESS, DEFAULT):
        set_list(path, FULL, each)
    return (
        place.touched(["it"], os.removexattr, path, name),
        lists(path),
        place.touched(["it"], os.removexattr, path, name),
        lists(path),
    )


@case.each(name=[ACCESS, DEFAULT], kind=["file", "directory"])
def remove_what_is_not_there(place: Place, name: str, kind: str) -> object:
    path = make(place / "it", kind)
    return place.touched(["it"], os.removexattr, path, name), place.attempt(
        os.removexattr, path, name
    )


@case.each(text=[MINIMAL, NAMED])
def the_same_again(place: Place, text: str) -> object:
    path = make(place / "it", "directory")
    for name in (ACCESS, DEFAULT):
        set_list(path, text, name)
    return [place.touched(["it"], set_list, path, text, name) for name in (ACCESS, DEFAULT)]


@case
def minimal_list_replaces_a_full_one(place: Place) -> object:
    path = make(place / "it")
    set_list(path, FULL)
    set_list(path, MINIMAL)
    return lists(path), os.listxattr(path)


@case.each(mode=[0o2755, 0o6777, 0o1777])
def special_bits_stay(place: Place, mode: int) -> object:
    path = make(place / "it", "directory", mode)
    set_list(path, FULL)
    return lists(path)


@case
def shared_by_links_and_kept_by_rename(place: Place) -> object:
    path = make(place / "it")
    os.link(path, place / "link")
    set_list(path, FULL)
    path.rename(place / "new")
    return lists(place / "link"), lists(place / "new"), place.tree()


@case
def by_descriptor(place: Place) -> object:
    make(place / "it")
    with place.opened("it") as fd:
        os.setxattr(fd, ACCESS, encoded(NAMED))
        (place / "it").unlink()
        return os.getxattr(fd, ACCESS), os.fstat(fd).st_mode, os.listxattr(fd)


@case
def listed_with_others(place: Place) -> object:
    path = make(place / "it", "directory")
    os.setxattr(path, "user.label", b"value")
    set_list(path, NAMED)
    set_list(path, NAMED, DEFAULT)
    return sorted(os.listxattr(path))


@case
def of_the_wrong_name(place: Place) -> object:
    path = make(place / "it")
    return [
        place.attempt(os.setxattr, path, name, VALID)
        for name in (f"{ACCESS}x", "system.posix_acl", "system.posix_acl_")
    ]


@case
def cached_lists_follow_changes(place: Place) -> object:
    """The kernel remembers lists; whoever changes one, or the mode, must be seen at once."""
    path = make(place / "it")
    shown = [lists(path)]
    for text in (NAMED, FULL, MINIMAL, NARROW):
        set_list(path, text)
        shown.append(lists(path))
        path.chmod(0o640)
        shown.append(lists(path))
    return shown
