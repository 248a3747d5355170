"""Hard and symbolic links: link, linkat, symlink, readlink, and how paths follow them."""

from __future__ import annotations

import ctypes
import os

from tests.parity import kinds
from tests.parity.harness import Place, case

USER, OTHER = 1000, 1001
AT_FDCWD = -100
AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW = 0x1000, 0x400, 0x100
PATH_MAX = 4096


@case.each(kind=kinds.ALL, follow=[True, False])
def link_kind(place: Place, kind: str, follow: bool) -> object:  # noqa: FBT001
    kinds.make(place, "source", kind)
    place.directory("sub")
    names = [".", "sub", "source", "sub/new"]
    touched = place.touched(
        names, os.link, place / "source", place / "sub/new", follow_symlinks=follow
    )
    return touched, place.tree()


@case.each(path=["", ".", "..", "f/", "d/", "d/.", "l/", "no", "no/x", "f/x"])
def link_odd_source(place: Place, path: str) -> object:
    place.file("f")
    place.directory("d")
    place.symlink("l", "d")
    made = place.attempt(os.link, f"{place.path}/{path}", place / "new", follow_symlinks=False)
    return made, place.tree()


@case.each(flags=[0, AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, 1], user=[0, USER])
def linkat_of_descriptor(place: Place, flags: int, user: int) -> object:
    place.path.chmod(0o777)
    place.file("f", b"content")
    os.chown(place / "f", user, user)
    with place.opened("f") as fd:
        target = os.fsencode(place / "new")
        made = place.as_user(user, user, [], place.libc.linkat, fd, b"", AT_FDCWD, target, flags)
    return made, place.tree()


@case
def link_by_proc(place: Place) -> object:
    place.file("f", b"content")
    with place.opened("f") as fd:
        source = f"/proc/self/fd/{fd}"
        made = place.attempt(os.link, source, place / "new", follow_symlinks=True)
    return made, place.tree()


@case.each(owner=[USER, OTHER], mode=[0o644, 0o666, 0o4755, 0o2755, 0o000], kind=["file", "fifo"])
def link_as_user(place: Place, owner: int, mode: int, kind: str) -> object:
    """fs.protected_hardlinks decides on both alike."""
    place.path.chmod(0o777)
    kinds.make(place, "source", kind)
    os.chown(place / "source", owner, owner)
    (place / "source").chmod(mode)
    return place.as_user(USER, USER, [], os.link, place / "source", place / "new"), place.tree()


@case
def links_share_everything(place: Place) -> object:
    place.directory("sub")
    place.file("a", b"first")
    os.link(place / "a", place / "sub/b")
    with (place / "sub/b").open("ab") as file:
        file.write(b" and second")
    os.setxattr(place / "a", "user.label", b"value")
    (place / "sub/b").chmod(0o600)
    os.chown(place / "a", USER, OTHER)
    return place.touched(["a", "sub/b"], os.truncate, place / "sub/b", 3), place.tree()


@case
def many_links(place: Place) -> object:
    place.file("f")
    for number in range(200):
        os.link(place / "f", place / f"link-{number}")
    before = (place / "f").stat().st_nlink
    for number in range(0, 200, 2):
        os.unlink(place / f"link-{number}")
    return before, (place / "link-1").stat().st_nlink


@case.each(length=[0, 1, 59, 60, 255, 256, 4094, 4095, 4096, 5000])
def symlink_of_length(place: Place, length: int) -> object:
    target = ("x" * 100 + "/") * (length // 101) + "y" * (length % 101)
    made = place.attempt(os.symlink, target, place / "link")
    read = place.attempt(os.readlink, place / "link")
    return len(target), made, read, place.stat("link"), place.attempt(os.stat, place / "link")


@case.each(target=[b"\xff\xfe", b"line\nbreak", b"a b", b"/", b".", "\u00fcber".encode(), b"a//b/"])
def symlink_target_bytes(place: Place, target: bytes) -> object:
    os.symlink(target, os.fsencode(place / "link"))
    return os.readlink(os.fsencode(place / "link")), place.stat("link")


@case.each(kind=kinds.ALL)
def readlink_of(place: Place, kind: str) -> object:
    kinds.make(place, "name", kind)
    return place.touched(["name"], os.readlink, place / "name"), place.attempt(
        os.readlink, place / "name"
    )


@case.each(size=[0, 1, 5, 6, 100])
def readlink_into_buffer(place: Place, size: int) -> object:
    place.symlink("link", "target")
    buffer = ctypes.create_string_buffer(b"#" * 12, 100)
    path = os.fsencode(place / "link")
    count = place.attempt(place.libc.long, "readlink", path, buffer, ctypes.c_size_t(size))
    return count, buffer.raw[:12]


@case.each(length=[1, 5, 39, 40, 41, 60])
def chain_of_symlinks(place: Place, length: int) -> object:
    place.file("end", b"reached")
    target = "end"
    for number in range(length):
        place.symlink(f"link-{number}", target)
        target = f"link-{number}"
    return (
        place.attempt((place / target).read_bytes),
        place.attempt(os.lstat, place / target) is not None,
        place.attempt(os.chmod, place / target, 0o600),
        place.stat("end", target),
    )


@case.each(
    call=[
        "stat",
        "open",
        "open_nofollow",
        "creat",
        "chmod",
        "listdir",
        "chdir",
        "truncate",
        "access",
    ]
)
def through_a_loop(place: Place, call: str) -> object:
    place.symlink("a", "b")
    place.symlink("b", "a")
    path = place / "a"
    calls = {
        "stat": lambda: os.stat(path),
        "open": lambda: os.open(path, os.O_RDONLY),
        "open_nofollow": lambda: os.open(path, os.O_RDONLY | os.O_NOFOLLOW),
        "creat": lambda: os.open(path, os.O_CREAT | os.O_WRONLY),
        "chmod": lambda: os.chmod(path, 0o600),
        "listdir": lambda: os.listdir(path),
        "chdir": lambda: os.chdir(path),
        "truncate": lambda: os.truncate(path, 0),
        "access": lambda: os.access(path, os.F_OK),
    }
    return place.attempt(calls[call]), place.attempt(os.stat, path / "x"), place.tree()


@case.each(
    call=[
        "chmod",
        "chown",
        "lchown",
        "utime",
        "lutime",
        "truncate",
        "getxattr",
        "lsetxattr",
        "open",
    ]
)
def call_on_symlink(place: Place, call: str) -> object:
    place.file("file", b"content")
    path = place.symlink("link", "file")
    calls = {
        "chmod": lambda: os.chmod(path, 0o600),
        "chown": lambda: os.chown(path, USER, OTHER),
        "lchown": lambda: os.lchown(path, USER, OTHER),
        "utime": lambda: os.utime(path, ns=(1, 2)),
        "lutime": lambda: os.utime(path, ns=(1, 2), follow_symlinks=False),
        "truncate": lambda: os.truncate(path, 2),
        "getxattr": lambda: os.getxattr(path, "user.none"),
        "lsetxattr": lambda: os.setxattr(path, "user.a", b"b", follow_symlinks=False),
        "open": lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    }
    return place.touched([".", "file", "link"], calls[call]), place.tree()


@case.each(owner=[USER, OTHER], follower=[USER, OTHER], mode=[0o755, 0o777, 0o1777])
def follow_in_shared_directory(place: Place, owner: int, follower: int, mode: int) -> object:
    """fs.protected_symlinks decides on both alike."""
    place.file("file", b"content")
    above = place.directory("above")
    link = place.symlink("above/link", "../file")
    os.lchown(link, owner, owner)
    above.chmod(mode)
    return place.as_user(follower, follower, [], link.read_bytes)


@case
def dangling_link_made_whole(place: Place) -> object:
    link = place.symlink("link", "later")
    first = place.attempt(os.stat, link), place.attempt(os.listdir, link)
    link.write_bytes(b"created through the link")
    second = link.read_bytes(), place.tree()
    os.unlink(place / "later")
    return first, second, place.attempt(os.stat, link)


@case
def symlink_replaced_by_rename(place: Place) -> object:
    """As deployments switch a "current" link."""
    for name in ("one", "two"):
        place.directory(name)
        place.file(f"{name}/file", name.encode())
    place.symlink("current", "one")
    first = (place / "current/file").read_bytes()
    place.symlink("next", "two")
    os.rename(place / "next", place / "current")
    return first, (place / "current/file").read_bytes(), place.tree()
