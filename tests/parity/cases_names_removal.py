"""Removing names: unlink, rmdir; what is open, hard-linked, a current directory, not one's own."""

from __future__ import annotations

import os

from tests.parity import kinds
from tests.parity.harness import Place, case

USER, OTHER = 1000, 1001
REMOVERS = {"unlink": os.unlink, "rmdir": os.rmdir}
AT_REMOVEDIR = 0x200


@case.each(call=REMOVERS, kind=kinds.ALL)
def remove(place: Place, call: str, kind: str) -> object:
    kinds.make(place, "name", kind)
    return place.touched([".", "name"], REMOVERS[call], place / "name"), place.tree()


@case.each(
    call=REMOVERS,
    path=["", ".", "..", "d/", "d/.", "d/..", "f/", "f/.", "f/x", "no/x", "full/..", "full", "l/"],
)
def remove_odd_path(place: Place, call: str, path: str) -> object:
    place.directory("d")
    place.file("f")
    kinds.make(place, "full", "full_directory")
    place.symlink("l", "d")
    return place.attempt(REMOVERS[call], f"{place.path}/{path}"), place.tree()


@case.each(flags=[0, AT_REMOVEDIR, 1, 0x400], name=["file", "directory"])
def unlinkat_flags(place: Place, flags: int, name: str) -> object:
    place.file("file")
    place.directory("directory")
    with place.opened(".", os.O_PATH) as fd:
        result = place.attempt(place.libc.unlinkat, fd, name.encode(), flags)
    return result, place.tree()


@case.each(links=[1, 2, 3])
def unlink_one_of(place: Place, links: int) -> object:
    place.file("name", b"content")
    names = [f"link-{number}" for number in range(1, links)]
    for name in names:
        os.link(place / "name", place / name)
    return place.touched([".", "name", *names], os.unlink, place / "name"), place.tree()


@case.each(size=[0, 100, 70_000, 200_000])
def unlink_open_file(place: Place, size: int) -> object:
    place.file("name", b"x" * size)
    with place.opened("name", os.O_RDWR) as fd:
        touched = place.touched([".", "name", fd], os.unlink, place / "name")
        written = os.pwrite(fd, b"still here", size)
        os.ftruncate(fd, size + 5)
        content = os.pread(fd, size + 100, 0)
        facts = os.fstat(fd)
        os.fchmod(fd, 0o600)
        os.setxattr(fd, "user.late", b"yes")
        late = os.getxattr(fd, "user.late"), oct(os.fstat(fd).st_mode)
    return touched, written, content, facts.st_nlink, facts.st_size, late, place.tree()


@case
def unlink_open_file_and_make_another(place: Place) -> object:
    place.file("name", b"old")
    with place.opened("name") as old:
        os.unlink(place / "name")
        place.file("name", b"new one")
        different = os.fstat(old).st_ino != os.stat(place / "name").st_ino
        return os.read(old, 10), (place / "name").read_bytes(), different


@case
def link_to_unlinked_open_file(place: Place) -> object:
    place.file("name", b"old")
    with place.opened("name") as fd:
        os.unlink(place / "name")
        by_proc = place.attempt(
            os.link, f"/proc/self/fd/{fd}", place / "back", follow_symlinks=True
        )
        by_fd = place.attempt(place.libc.linkat, fd, b"", -100, os.fsencode(place / "back"), 0x1000)
        return by_proc, by_fd, os.fstat(fd).st_nlink, place.tree()


@case
def proc_names_what_is_removed(place: Place) -> object:
    place.file("name")
    with place.opened("name") as fd:
        before = os.readlink(f"/proc/self/fd/{fd}")
        os.unlink(place / "name")
        after = os.readlink(f"/proc/self/fd/{fd}")
    return os.path.basename(before), os.path.basename(after)


@case.each(how=["current", "open"])
def rmdir_in_use(place: Place, how: str) -> object:
    place.directory("above")
    folder = place.directory("above/name")
    with place.opened("above/name", os.O_RDONLY | os.O_DIRECTORY) as fd:
        if how == "current":
            os.chdir(folder)
        touched = place.touched(["above", "above/name", fd], os.rmdir, folder)
        if how == "current":
            calls = [
                place.attempt(os.getcwd),
                place.attempt(os.listdir, "."),
                place.attempt(os.mkdir, "new"),
                place.attempt(os.stat, "new"),
                place.attempt(lambda: os.stat(".").st_nlink),
                place.attempt(lambda: os.stat("..").st_nlink),
                place.attempt(os.chdir, ".."),
                os.path.basename(os.getcwd()),
            ]
        else:
            calls = [os.listdir(fd), os.fstat(fd).st_nlink, place.attempt(os.fsync, fd)]
    return touched, calls, place.tree()


@case
def rmdir_current_by_dot(place: Place) -> object:
    os.chdir(place.directory("name"))
    return place.attempt(os.rmdir, "."), place.attempt(os.rmdir, "../name"), place.tree()


@case
def attributes_of_removed_directory(place: Place) -> object:
    place.directory("name")
    with place.opened("name", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir(place / "name")
        changed = [
            place.attempt(os.fchmod, fd, 0o700),
            place.attempt(os.fchown, fd, USER, USER),
            place.attempt(os.utime, fd, ns=(1, 2)),
            place.attempt(os.setxattr, fd, "user.a", b"b"),
            place.attempt(os.listxattr, fd),
        ]
        return changed, place.stat(fd)


@case
def rmdir_after_its_last_entry(place: Place) -> object:
    kinds.make(place, "full", "full_directory")
    refused = place.attempt(os.rmdir, place / "full")
    os.unlink(place / "full/inner")
    return refused, place.attempt(os.rmdir, place / "full"), place.tree()


@case
def rmdir_holding_open_unlinked_file(place: Place) -> object:
    kinds.make(place, "full", "full_directory")
    with place.opened("full/inner") as fd:
        os.unlink(place / "full/inner")
        return place.attempt(os.rmdir, place / "full"), os.read(fd, 10), place.tree()


@case.each(
    call=REMOVERS,
    mode=[0o755, 0o777, 0o1777, 0o1755],
    owner=["directory", "entry", "both", "neither"],
)
def remove_as_user(place: Place, call: str, mode: int, owner: str) -> object:
    above = place.directory("above")
    entry = place.file("above/name") if call == "unlink" else place.directory("above/name")
    os.chown(above, USER if owner in {"directory", "both"} else OTHER, 0)
    os.chown(entry, USER if owner in {"entry", "both"} else OTHER, 0)
    above.chmod(mode)
    return place.as_user(USER, USER, [], REMOVERS[call], entry), place.tree()


@case.each(capability=[1, 3], call=REMOVERS)
def remove_with_capability(place: Place, capability: int, call: str) -> object:
    """CAP_DAC_OVERRIDE (1) opens the directory, CAP_FOWNER (3) passes the sticky bit."""
    results = []
    for mode in (0o755, 0o1777):
        above = place.directory(f"above-{mode:o}")
        entry = above / "name"
        (entry.touch if call == "unlink" else entry.mkdir)()
        above.chmod(mode)
        results.append(
            place.as_user(USER, USER, [], REMOVERS[call], entry, capabilities=[capability])
        )
    return results, place.tree()


@case
def unlink_file_without_permission_on_it(place: Place) -> object:
    place.path.chmod(0o777)
    place.file("name", mode=0o000)
    return place.as_user(USER, USER, [], os.unlink, place / "name"), place.tree()


@case
def rmdir_of_others_unreadable_directory(place: Place) -> object:
    place.path.chmod(0o777)
    place.directory("name", mode=0o000)
    return place.as_user(USER, USER, [], os.rmdir, place / "name"), place.tree()


@case
def rmdir_mountpoint_root(place: Place) -> object:
    return place.attempt(os.rmdir, place.path.parent), place.attempt(os.unlink, place.path.parent)
