"""setxattr, getxattr, listxattr, removexattr: values, sizes, flags, errors."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_size_t
from pathlib import Path

from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make

CREATE = os.XATTR_CREATE
REPLACE = os.XATTR_REPLACE
LARGEST = 65536
LABEL = "user.label"


def _get(place: Place, path: Path, name: str, room: int) -> object:
    """getxattr(2) with a buffer of `room` bytes; Python tries larger ones by itself."""
    buffer = ctypes.create_string_buffer(max(room, 1))
    name_ = os.fsencode(name)
    length = place.libc.long("getxattr", os.fsencode(path), name_, buffer, c_size_t(room))
    return length, buffer.raw[:length] if room else b""


def _list(place: Place, path: Path, room: int) -> object:
    buffer = ctypes.create_string_buffer(max(room, 1))
    length = place.libc.long("listxattr", os.fsencode(path), buffer, c_size_t(room))
    return length, sorted(buffer.raw[:length].split(b"\0")) if room else []


@case.each(size=[0, 1, 2, 255, 256, 1000, 4000, 4096, 5000, 20_000, 65_535, LARGEST])
def value_of_size(place: Place, size: int) -> object:
    path = make(place / "it")
    value = (b"0123456789" * 7000)[:size]
    done = place.attempt(os.setxattr, path, LABEL, value)
    return done, place.attempt(os.getxattr, path, LABEL) == value, os.listxattr(path)


@case.each(size=[LARGEST + 1, 2 * LARGEST, 1_000_000])
def value_too_big(place: Place, size: int) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, b"old")
    return place.attempt(os.setxattr, path, LABEL, b"x" * size), place.tree()


@case.each(value=[b"\0", b"\0" * 100, b"a\0b", bytes(range(256)), b"\xff\xfe"])
def value_of_any_bytes(place: Place, value: bytes) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, value)
    return os.getxattr(path, LABEL) == value


@case.each(flags=[0, CREATE, REPLACE], exists=[False, True])
def create_and_replace(place: Place, flags: int, exists: bool) -> object:  # noqa: FBT001
    path = make(place / "it")
    if exists:
        os.setxattr(path, LABEL, b"old")
    return place.touched(["it"], os.setxattr, path, LABEL, b"new", flags), place.tree()


@case.each(exists=[False, True])
def create_and_replace_at_once(place: Place, exists: bool) -> object:  # noqa: FBT001
    path = make(place / "it")
    if exists:
        os.setxattr(path, LABEL, b"old")
    return place.attempt(os.setxattr, path, LABEL, b"new", CREATE | REPLACE), place.tree()


@case.each(flags=[4, 8, 0x10000])
def unknown_flags(place: Place, flags: int) -> object:
    path = make(place / "it")
    return place.attempt(os.setxattr, path, LABEL, b"new", flags), place.tree()


@case.each(kind=[*KINDS, "symlink"], namespace=["user", "trusted", "security"])
def namespaces_by_kind(place: Place, kind: str, namespace: str) -> object:
    path = make(place / "it", kind)
    name = f"{namespace}.label"
    calls = (
        lambda: os.setxattr(path, name, b"value", follow_symlinks=False),
        lambda: os.getxattr(path, name, follow_symlinks=False),
        lambda: os.listxattr(path, follow_symlinks=False),
        lambda: os.removexattr(path, name, follow_symlinks=False),
        lambda: os.getxattr(path, name, follow_symlinks=False),
        lambda: os.removexattr(path, name, follow_symlinks=False),
    )
    return [place.attempt(call) for call in calls]


@case.each(kind=["file", "directory"])
def what_is_touched(place: Place, kind: str) -> object:
    path = make(place / "it", kind)
    return (
        place.touched(["it", "."], os.setxattr, path, LABEL, b"value"),
        place.touched(["it", "."], os.setxattr, path, LABEL, b"other"),
        place.touched(["it", "."], os.getxattr, path, LABEL),
        place.touched(["it", "."], os.listxattr, path),
        place.touched(["it", "."], os.removexattr, path, LABEL),
        place.touched(["it", "."], os.removexattr, path, LABEL),
    )


@case.each(size=[0, 5, 1000, 2000, 4100, 5000, 65536])
def setting_the_same_value(place: Place, size: int) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, b"x" * size)
    return place.touched(["it"], os.setxattr, path, LABEL, b"x" * size)


@case.each(
    name=[
        "", "user.", "user", ".", "label", "label.user", "user.label ", "user.\u00fc", "user.a.b",
        "user.\n", "USER.label", "trusted.", "security.", "system.", "system.label",
        "os2.label", "btrfs.x", "com.apple.quarantine",
    ],
)  # fmt: skip
def names(place: Place, name: str) -> object:
    path = make(place / "it")
    calls = (
        lambda: os.setxattr(path, name, b"value"),
        lambda: os.getxattr(path, name),
        lambda: os.listxattr(path),
        lambda: os.removexattr(path, name),
    )
    return [place.attempt(call) for call in calls]


@case
def name_of_no_text(place: Place) -> object:
    path = make(place / "it")
    name = b"user.\xff\xfe"
    os.setxattr(path, name, b"value")
    return os.getxattr(path, name), [os.fsencode(each) for each in os.listxattr(path)]


@case.each(length=[254, 255, 256, 300])
def name_of_length(place: Place, length: int) -> object:
    path = make(place / "it")
    name = "user." + "x" * (length - 5)
    return (
        place.attempt(os.setxattr, path, name, b"value"),
        place.attempt(os.getxattr, path, name),
        place.attempt(os.removexattr, path, name + "y"),
        os.listxattr(path) == [name],
    )


@case.each(room=[0, 1, 4, 5, 6, 100, LARGEST])
def get_with_room(place: Place, room: int) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, b"value")
    return place.attempt(_get, place, path, LABEL, room)


@case.each(room=[0, 1, 10, 11, 21, 22, 100, LARGEST])
def list_with_room(place: Place, room: int) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, b"value")
    os.setxattr(path, "user.other", b"value")
    return place.attempt(_list, place, path, room)


@case.each(room=[0, 1, 100])
def nothing_to_list(place: Place, room: int) -> object:
    return place.attempt(_list, place, make(place / "it"), room)


@case.each(room=[0, 1, 100])
def empty_value(place: Place, room: int) -> object:
    path = make(place / "it")
    os.setxattr(path, LABEL, b"")
    return place.attempt(_get, place, path, LABEL, room)


@case.each(room=[0, 100])
def missing_with_room(place: Place, room: int) -> object:
    return place.attempt(_get, place, make(place / "it"), LABEL, room)


@case
def many_names(place: Place) -> object:
    path = make(place / "it")
    for number in range(100):
        os.setxattr(path, f"user.name-{number}", b"%d" % number)
    for number in range(0, 100, 3):
        os.removexattr(path, f"user.name-{number}")
    return place.tree()


@case
def shared_by_links_and_kept_by_rename(place: Place) -> object:
    path = make(place / "it")
    os.link(path, place / "link")
    os.setxattr(place / "link", LABEL, b"value")
    path.rename(place / "new")
    return place.tree()


@case
def not_inherited_and_not_left_behind(place: Place) -> object:
    path = make(place / "it")
    os.setxattr(place.path, LABEL, b"of the directory")
    os.setxattr(path, LABEL, b"value")
    path.unlink()
    make(place / "it")
    return place.tree()


@case
def replaced_by_rename(place: Place) -> object:
    for name in ("a", "b"):
        os.setxattr(make(place / name), f"user.{name}", name.encode())
    (place / "a").rename(place / "b")
    return place.tree()


@case.each(flags=[os.O_RDONLY, os.O_WRONLY, os.O_PATH])
def by_descriptor(place: Place, flags: int) -> object:
    make(place / "it")
    with place.opened("it", flags) as fd:
        calls = (
            lambda: os.setxattr(fd, LABEL, b"value"),
            lambda: os.getxattr(fd, LABEL),
            lambda: os.listxattr(fd),
            lambda: os.removexattr(fd, LABEL),
        )
        return [place.attempt(call) for call in calls]


@case
def of_an_unlinked_file(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it") as fd:
        os.setxattr(fd, LABEL, b"before")
        path.unlink()
        calls = (
            lambda: os.getxattr(fd, LABEL),
            lambda: os.setxattr(fd, "user.new", b"after"),
            lambda: sorted(os.listxattr(fd)),
            lambda: os.removexattr(fd, LABEL),
        )
        return [place.attempt(call) for call in calls]


@case
def symlinks_are_followed(place: Place) -> object:
    make(place / "target")
    link = make(place / "it", "symlink")
    os.setxattr(link, LABEL, b"value")
    os.setxattr(link, "trusted.label", b"of the link", follow_symlinks=False)
    return place.tree(), os.getxattr(link, LABEL), os.listxattr(link)


@case
def data_is_left_alone(place: Place) -> object:
    path = make(place / "it")
    path.write_bytes(b"x" * 200_000)
    os.setxattr(path, LABEL, b"y" * 60_000)
    os.removexattr(path, LABEL)
    return place.tree()
