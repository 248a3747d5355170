"""rename and renameat2: what replaces what, flags, paths, times, link counts; and who may."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.parity import kinds
from tests.parity.harness import Name, Place, case

AT_FDCWD = -100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
FLAGS = {"plain": 0, "noreplace": NOREPLACE, "exchange": EXCHANGE}
WHITEOUTS = {"whiteout": WHITEOUT, "whiteout_noreplace": WHITEOUT | NOREPLACE}


def renameat2(place: Place, source: str | Path, target: str | Path, flags: int) -> None:
    """Both names are below the place, taken as they are written."""
    paths = [f"{place.path}/{name}".encode() for name in (source, target)]
    place.libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags)


@case.each(source=kinds.USUAL, target=["missing", *kinds.USUAL], flags=FLAGS)
def rename_across(place: Place, source: str, target: str, flags: str) -> object:
    place.directory("a")
    place.directory("b")
    kinds.make(place, "a/source", source)
    kinds.make(place, "b/target", target)
    names = [".", "a", "b", "a/source", "b/target"]
    touched = place.touched(names, renameat2, place, "a/source", "b/target", FLAGS[flags])
    return touched, place.tree()


@case.each(source=kinds.USUAL, target=["missing", *kinds.USUAL], flags=FLAGS)
def rename_within(place: Place, source: str, target: str, flags: str) -> object:
    kinds.make(place, "source", source)
    kinds.make(place, "target", target)
    names = [".", "source", "target"]
    touched = place.touched(names, renameat2, place, "source", "target", FLAGS[flags])
    return touched, place.tree()


@case.each(source=kinds.USUAL, target=["missing", *kinds.USUAL], flags=WHITEOUTS)
def rename_leaving_whiteout(place: Place, source: str, target: str, flags: str) -> object:
    """What overlays use: a device 0:0 of mode 0 takes the source's name."""
    place.directory("b")
    kinds.make(place, "source", source)
    kinds.make(place, "b/target", target)
    names = [".", "b", "source", "b/target"]
    touched = place.touched(names, renameat2, place, "source", "b/target", WHITEOUTS[flags])
    # Where the call fails, ext4 has written its whiteout already and leaves the times of that.
    return touched.get("error", touched), place.tree()


@case.each(target=["hard", "source", "other"])
def rename_leaving_whiteout_within(place: Place, target: str) -> object:
    place.file("source", b"content")
    os.link(place / "source", place / "hard")
    done = place.attempt(renameat2, place, "source", target, WHITEOUT)
    return done, place.tree()


@case.each(umask=[0o000, 0o077])
def whiteout_of_user(place: Place, umask: int) -> object:
    os.umask(umask)
    place.path.chmod(0o2777)
    os.chown(place.file("source"), 1000, 1000)
    done = place.as_user(1000, 1000, [], renameat2, place, "source", "target", WHITEOUT)
    return done, place.tree()


@case.each(kind=kinds.PRESENT)
def moved_object_is_touched(place: Place, kind: str) -> object:
    """The moved inode itself: watched through a descriptor, for its name changes."""
    kinds.make(place, "source", kind)
    with contextlib.ExitStack() as stack:
        fd = os.open(place / "source", os.O_PATH | os.O_NOFOLLOW)
        stack.callback(os.close, fd)
        return place.touched([fd], os.rename, place / "source", place / "target")


@case.each(kind=["file", "empty_directory"])
def replaced_object_is_touched(place: Place, kind: str) -> object:
    kinds.make(place, "source", kind)
    kinds.make(place, "target", kind)
    with place.opened("target") as fd:
        touched = place.touched([fd], os.rename, place / "source", place / "target")
        return touched, place.stat(fd)


@case
def replaced_hard_link_is_touched(place: Place) -> object:
    place.file("source")
    place.file("target")
    os.link(place / "target", place / "other")
    return place.touched(["other"], os.rename, place / "source", place / "target"), place.tree()


@case.each(left=["file", "full_directory"], right=["file", "full_directory"])
def exchanged_objects_are_touched(place: Place, left: str, right: str) -> object:
    place.directory("a")
    kinds.make(place, "a/left", left)
    kinds.make(place, "right", right)
    with place.opened("a/left") as first, place.opened("right") as second:
        names: list[Name] = [first, second, ".", "a"]
        return place.touched(names, renameat2, place, "a/left", "right", EXCHANGE), place.tree()


@case.each(flags=[3, 6, 7, 8, 16, 1 << 30])
def rename_with_unknown_flags(place: Place, flags: int) -> object:
    place.file("source")
    return place.attempt(renameat2, place, "source", "target", flags)


@case.each(flags=FLAGS, target=["other", "file", "sub/file", "hard", "sub/hard"])
def rename_to_itself_or_its_hard_link(place: Place, flags: str, target: str) -> object:
    place.directory("sub")
    place.file("file", b"content")
    os.link(place / "file", place / "hard")
    os.link(place / "file", place / "sub/hard")
    names = [".", "sub", "file"]
    return place.touched(names, renameat2, place, "file", target, FLAGS[flags]), place.tree()


SUBTREE = [
    ("a", "a/x"),
    ("a", "a/b"),
    ("a", "a/b/x"),
    ("a", "a/b/c"),
    ("a", "a/b/f"),
    ("a/b", "a"),
    ("a/b/c", "a"),
    ("a/b/f", "a"),
    ("a/b/f", "a/b"),
    ("a", "a"),
    ("a/b", "b"),
    ("a/b", "a/d"),
]


@case.each(flags=FLAGS, paths=SUBTREE)
def rename_in_subtree(place: Place, flags: str, paths: tuple[str, str]) -> object:
    os.makedirs(place / "a/b/c")
    place.file("a/b/f")
    return place.attempt(renameat2, place, *paths, FLAGS[flags]), place.tree()


@case.each(flags=FLAGS, source=["d", "full"], target=["x/y/t", "full", "full/t"])
def directory_counts_after_move(place: Place, flags: str, source: str, target: str) -> object:
    os.makedirs(place / "d/below")
    os.makedirs(place / "x/y")
    os.makedirs(place / "full/inner")
    moved = place.attempt(renameat2, place, source, target, FLAGS[flags])
    return moved, place.tree()


ODD = ["", ".", "..", "f/", "f/.", "d/", "d/.", "d/..", "no/t", "f/t", "l/", "new/", "l", "d//"]


@case.each(flags=FLAGS, path=ODD)
def rename_from_odd_path(place: Place, flags: str, path: str) -> object:
    place.file("f")
    place.directory("d")
    place.symlink("l", "d")
    return place.attempt(renameat2, place, path, "target", FLAGS[flags]), place.tree()


@case.each(flags=FLAGS, source=["f", "e"], path=ODD)
def rename_to_odd_path(place: Place, flags: str, source: str, path: str) -> object:
    place.file("f")
    place.directory("d")
    place.directory("e")
    place.symlink("l", "d")
    return place.attempt(renameat2, place, source, path, FLAGS[flags]), place.tree()


@case.each(source=["f", "missing"], target=["f", "missing"])
def rename_across_filesystems(place: Place, source: str, target: str) -> object:
    place.file("f")
    return (
        place.attempt(os.rename, place / source, f"/proc/{target}"),
        place.attempt(os.link, place / source, f"/proc/{target}"),
    )


@case.each(size=[100, 200_000])
def rename_open_file(place: Place, size: int) -> object:
    place.file("source", b"s" * size)
    place.directory("sub")
    with place.opened("source", os.O_RDWR) as fd:
        os.rename(place / "source", place / "sub/target")
        os.pwrite(fd, b"later", size)
        name = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        return name, os.fstat(fd).st_nlink, (place / "sub/target").read_bytes()[-10:], place.tree()


@case.each(size=[100, 200_000])
def rename_over_open_file(place: Place, size: int) -> object:
    place.file("source", b"new")
    place.file("target", b"t" * size)
    with place.opened("target", os.O_RDWR) as fd:
        os.rename(place / "source", place / "target")
        os.pwrite(fd, b"later", size)
        facts = os.fstat(fd)
        content = os.pread(fd, size + 100, 0)
    return facts.st_nlink, facts.st_size, content, (place / "target").read_bytes(), place.tree()


@case
def rename_current_directory(place: Place) -> object:
    place.directory("sub")
    os.chdir(place.directory("name"))
    os.rename("../name", "../sub/moved")
    place.file("sub/moved/inner")
    names = os.path.basename(os.getcwd()), os.listdir("."), sorted(os.listdir(".."))
    return names, place.tree()


@case
def rename_over_current_directory(place: Place) -> object:
    kinds.make(place, "source", "full_directory")
    os.chdir(place.directory("target"))
    os.rename(place / "source", place / "target")
    calls = [
        place.attempt(os.getcwd),
        place.attempt(os.listdir, "."),
        place.attempt(os.mkdir, "new"),
        place.attempt(lambda: os.stat(".").st_nlink),
    ]
    return calls, place.tree()


@case
def rename_open_directory_and_go_on_listing(place: Place) -> object:
    kinds.make(place, "source", "full_directory")
    with place.opened("source") as fd:
        os.rename(place / "source", place / "target")
        place.file("target/second")
        return sorted(os.listdir(fd)), place.stat(fd)


@case
def dotdot_follows_the_move(place: Place) -> object:
    place.directory("a")
    place.directory("b")
    place.directory("a/moved")
    before = (place / "a/moved/..").stat().st_ino == (place / "a").stat().st_ino
    os.rename(place / "a/moved", place / "b/moved")
    after = (place / "b/moved/..").stat().st_ino == (place / "b").stat().st_ino
    return before, after, place.stat("a", "b")


@case
def rename_back_and_forth(place: Place) -> object:
    place.file("a", b"a")
    place.file("b", b"b")
    seen = []
    for _ in range(4):
        os.rename(place / "a", place / "c")
        seen.append((place.attempt(os.stat, place / "a"), (place / "c").read_bytes()))
        os.rename(place / "c", place / "a")
        renameat2(place, "a", "b", EXCHANGE)
        seen.append(((place / "a").read_bytes(), (place / "b").read_bytes()))
    return seen, place.tree()


@case
def rename_keeps_attributes(place: Place) -> object:
    path = place.file("source", b"content", 0o4750)
    os.chown(path, 1000, 2000)
    path.chmod(0o4750)
    os.setxattr(path, "user.label", b"value")
    os.utime(path, ns=(10**18, 10**18 + 1))
    os.rename(path, place / "target")
    facts = (place / "target").stat()
    return facts.st_atime_ns, facts.st_mtime_ns, place.tree()


@case.each(flags=FLAGS)
def renameat_with_descriptors(place: Place, flags: str) -> object:
    for name in ("a", "b"):
        kinds.make(place, name, "full_directory")
    with place.opened("a", os.O_PATH) as old, place.opened("b", os.O_PATH) as new:
        done = [
            place.attempt(place.libc.renameat2, old, b"inner", new, target, FLAGS[flags])
            for target in (b"moved", b"inner")
        ]
    return done, place.tree()


@case
def renameat_with_bad_descriptors(place: Place) -> object:
    place.file("f")
    with place.opened("f") as file, place.opened(".", os.O_PATH) as here:
        return [
            place.attempt(place.libc.renameat2, old, b"f", new, b"g", 0)
            for old, new in ((file, here), (here, file), (999, here), (here, 999))
        ]


# ---------------------------------------------------------------- by other users


USER, OTHER = 1000, 1001
CAP_DAC_OVERRIDE, CAP_FOWNER = 1, 3


def rename(place: Place, source: Path, target: Path, flags: int = 0) -> None:
    """The call that a child makes."""
    paths = [os.fsencode(path) for path in (source, target)]
    place.libc.renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags)


def folder(place: Place, name: str, mode: int, owner: int) -> Path:
    """A directory of this mode and owner."""
    path = place.directory(name)
    os.chown(path, owner, owner)
    path.chmod(mode)
    return path


def entry(path: Path, kind: str, owner: int) -> Path:
    """A file or directory of this owner."""
    (path.touch if kind == "file" else path.mkdir)()
    os.chown(path, owner, owner)
    return path


@case.each(source_mode=[0o755, 0o777, 0o1777], target_mode=[0o755, 0o777, 0o1777], flags=FLAGS)
def rename_others_entries(place: Place, source_mode: int, target_mode: int, flags: str) -> object:
    source = entry(folder(place, "a", source_mode, OTHER) / "source", "file", OTHER)
    target = entry(folder(place, "b", target_mode, OTHER) / "target", "file", OTHER)
    return place.as_user(USER, USER, [], rename, place, source, target, FLAGS[flags]), place.tree()


@case.each(
    mode=[0o777, 0o1777],
    source=[USER, OTHER],
    target=[USER, OTHER],
    above=[USER, OTHER],
    flags=["plain", "exchange"],
)
def rename_in_shared_directory(
    place: Place, mode: int, source: int, target: int, above: int, flags: str
) -> object:
    path = folder(place, "shared", mode, above)
    old = entry(path / "source", "file", source)
    new = entry(path / "target", "file", target)
    return place.as_user(USER, USER, [], rename, place, old, new, FLAGS[flags]), place.tree()


@case.each(owner=[USER, OTHER], mode=[0o755, 0o777, 0o555, 0o000], across=[True, False])
def rename_directory_as_user(place: Place, owner: int, mode: int, across: bool) -> object:  # noqa: FBT001
    """Moving a directory elsewhere writes its "..": it must be writable to the mover."""
    for name in ("a", "b"):
        folder(place, name, 0o777, OTHER)
    moved = folder(place, "a/moved", mode, owner)
    target = place / ("b/moved" if across else "a/renamed")
    return place.as_user(USER, USER, [], rename, place, moved, target), place.tree()


@case.each(mode=[0o755, 0o555], kinds=[("file", "directory"), ("directory", "directory")])
def exchange_directories_as_user(place: Place, mode: int, kinds: tuple[str, str]) -> object:
    for name in ("a", "b"):
        folder(place, name, 0o777, OTHER)
    left = entry(place / "a/left", kinds[0], USER)
    right = entry(place / "b/right", kinds[1], USER)
    right.chmod(mode)
    return place.as_user(USER, USER, [], rename, place, left, right, EXCHANGE), place.tree()


@case.each(capability=[CAP_DAC_OVERRIDE, CAP_FOWNER], mode=[0o755, 0o1777])
def rename_with_capability(place: Place, capability: int, mode: int) -> object:
    path = folder(place, "above", mode, OTHER)
    source = entry(path / "source", "file", OTHER)
    target = entry(path / "target", "file", OTHER)
    done = place.as_user(USER, USER, [], rename, place, source, target, capabilities=[capability])
    return done, place.tree()


@case.each(gid=[100, 200], mode=[0o775, 0o1775, 0o755])
def rename_by_group(place: Place, gid: int, mode: int) -> object:
    path = folder(place, "above", mode, OTHER)
    os.chown(path, OTHER, 100)
    path.chmod(mode)
    source = entry(path / "source", "file", USER)
    return place.as_user(USER, USER, [gid], rename, place, source, path / "target"), place.tree()


@case.each(missing=["source", "target_directory", "both"])
def rename_missing_without_permission(place: Place, missing: str) -> object:
    """Which of ENOENT and EACCES comes first."""
    path = folder(place, "above", 0o700 if missing == "both" else 0o755, OTHER)
    entry(path / "present", "file", OTHER)
    source = path / ("present" if missing == "target_directory" else "absent")
    target = path / ("no/target" if missing == "target_directory" else "target")
    return place.as_user(USER, USER, [], rename, place, source, target)
