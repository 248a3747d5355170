"""Making names: creat, mknod, mkfifo, mkdir, symlink; what is in the way, modes, devices."""

from __future__ import annotations

import os
import select
import stat

from tests.parity import kinds
from tests.parity.harness import Place, case
from tests.parity.making import MAKERS

USER = 1000
CALLS = [*MAKERS, "link"]


def make_with(place: Place, call: str, name: str) -> object:
    """What the call gives for a path below the place, as it is written."""
    path = f"{place.path}/{name}"
    if call == "link":
        source = place / "linked"
        if not source.exists():
            place.file("linked")
        return place.attempt(os.link, source, path)
    return place.attempt(MAKERS[call], path)


@case.each(call=CALLS, kind=kinds.ALL)
def make_where_is(place: Place, call: str, kind: str) -> object:
    kinds.make(place, "name", kind)
    return make_with(place, call, "name"), place.tree()


@case.each(call=CALLS, kind=kinds.ALL)
def make_below(place: Place, call: str, kind: str) -> object:
    kinds.make(place, "above", kind)
    return make_with(place, call, "above/name"), place.tree()


@case.each(call=CALLS, name=["", ".", "..", "new/", "new/.", "new/..", "./new", "new//"])
def make_with_odd_path(place: Place, call: str, name: str) -> object:
    return make_with(place, call, name), place.tree()


@case.each(call=MAKERS)
def make_touches(place: Place, call: str) -> object:
    place.directory("above")
    place.file("above/sibling")
    names = [".", "above", "above/sibling", "above/name"]
    return place.touched(names, MAKERS[call], place / "above/name"), place.stat(*names)


@case.each(call=MAKERS)
def make_gives_one_time(place: Place, call: str) -> object:
    MAKERS[call](place / "name")
    facts, above = os.lstat(place / "name"), os.lstat(place.path)
    same = facts.st_atime_ns == facts.st_mtime_ns == facts.st_ctime_ns
    return same, abs(above.st_mtime_ns - facts.st_mtime_ns) < 10**9


@case.each(mode=[0o000, 0o777, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777], umask=[0o000, 0o027, 0o777])
def mode_of_what_is_made(place: Place, mode: int, umask: int) -> object:
    os.umask(umask)
    os.mkdir(place / "directory", mode)
    os.mkfifo(place / "fifo", mode)
    os.mknod(place / "node", stat.S_IFREG | mode)
    os.close(os.open(place / "file", os.O_CREAT | os.O_WRONLY, mode))
    return place.stat("directory", "fifo", "node", "file")


@case.each(kind_mode=[0, *(kind << 12 for kind in range(1, 16))])
def mknod_of_type(place: Place, kind_mode: int) -> object:
    made = place.attempt(place.libc.mknod, bytes(place / "node"), kind_mode | 0o640, kinds.NULL)
    return made, place.tree()


@case.each(
    kind=["char", "block"],
    numbers=[(0, 0), (1, 3), (8, 255), (8, 256), (255, 255), (256, 0), (4095, 1048575), (0, 65536)],
)
def mknod_device_numbers(place: Place, kind: str, numbers: tuple[int, int]) -> object:
    mode = stat.S_IFCHR if kind == "char" else stat.S_IFBLK
    made = place.attempt(os.mknod, place / "node", mode | 0o600, os.makedev(*numbers))
    return made, place.stat("node")


@case.each(kind_mode=[stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def mknod_as_user(place: Place, kind_mode: int) -> object:
    place.path.chmod(0o777)
    made = place.as_user(USER, USER, [], os.mknod, place / "node", kind_mode | 0o644, kinds.NULL)
    return made, place.stat(".", "node")


@case
def device_works(place: Place) -> object:
    os.mknod(place / "null", stat.S_IFCHR | 0o666, kinds.NULL)
    os.mknod(place / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with place.opened("null", os.O_RDWR) as null, place.opened("zero", os.O_RDWR) as zero:
        return os.write(null, b"gone"), os.read(null, 4), os.read(zero, 4)


@case
def device_that_does_not_exist(place: Place) -> object:
    os.mknod(place / "node", stat.S_IFCHR | 0o666, os.makedev(1, 200))
    os.mknod(place / "block", stat.S_IFBLK | 0o666, os.makedev(8, 4711))
    return place.attempt(os.open, place / "node", os.O_RDWR), place.attempt(
        os.open, place / "block", os.O_RDONLY
    )


@case
def fifo_carries_bytes(place: Place) -> object:
    os.mkfifo(place / "fifo")
    with_nobody = place.attempt(os.open, place / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    with place.opened("fifo", os.O_RDONLY | os.O_NONBLOCK) as reading:
        with place.opened("fifo", os.O_WRONLY) as writing:
            empty = place.attempt(os.read, reading, 10)
            written = os.write(writing, b"through")
            ready = bool(select.select([reading], [], [], 0)[0])
            sizes = os.fstat(reading).st_size, os.lstat(place / "fifo").st_size
            received = os.read(reading, 100)
        end = os.read(reading, 100)
    return with_nobody, empty, written, ready, sizes, received, end


@case
def fifo_touched_by_use(place: Place) -> object:
    os.mkfifo(place / "fifo")

    def use() -> None:
        with (
            place.opened("fifo", os.O_RDWR | os.O_NONBLOCK) as fd,
        ):
            os.write(fd, b"through")
            os.read(fd, 100)

    return place.touched([".", "fifo"], use)


@case.each(kind=["file", "empty_directory", "fifo", "dangling_link", "device", "socket"])
def seen_at_once_after_absence(place: Place, kind: str) -> object:
    before = place.attempt(os.lstat, place / "name")
    kinds.make(place, "name", kind)
    return before, place.stat("name"), os.listdir(place.path)


@case.each(call=MAKERS)
def made_again_after_removal(place: Place, call: str) -> object:
    results = []
    for _ in range(3):
        MAKERS[call](place / "name")
        first = os.lstat(place / "name").st_ino
        (os.rmdir if call == "mkdir" else os.unlink)(place / "name")
        results.append((first > 0, place.attempt(os.lstat, place / "name")))
    return results, place.tree()


@case.each(call=MAKERS, mode=[0o500, 0o300, 0o600, 0o700])
def make_in_directory_of_user(place: Place, call: str, mode: int) -> object:
    above = place.directory("above")
    os.chown(above, USER, USER)
    above.chmod(mode)
    return place.as_user(USER, USER, [], MAKERS[call], place / "above/name"), place.tree()


@case.each(call=MAKERS)
def make_in_removed_directory(place: Place, call: str) -> object:
    place.directory("above")
    with place.opened("above", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir(place / "above")
        made = place.attempt(MAKERS[call], f"/proc/self/fd/{fd}/name")
        return made, os.fstat(fd).st_nlink, os.listdir(fd)


@case
def mkdir_counts_in_parent(place: Place) -> object:
    counts = []
    for number in range(5):
        place.directory(f"{number}")
        counts.append(place.path.stat().st_nlink)
    os.rmdir(place / "2")
    return counts, place.path.stat().st_nlink, place.stat("0")


@case
def directory_has_dots(place: Place) -> object:
    place.directory("a")
    place.directory("a/b")
    inodes = [os.stat(place / name).st_ino for name in ("a", "a/b/..", "a/.", "a/b/../.")]
    return len(set(inodes)), os.stat(place / "a/..").st_ino == os.stat(place.path).st_ino


@case.each(call=CALLS, depth=[1, 3])
def make_relative_to_descriptor(place: Place, call: str, depth: int) -> object:
    folder = "/".join("abc"[:depth])
    os.makedirs(place / folder)
    with place.opened(folder, os.O_PATH | os.O_DIRECTORY) as fd:
        os.fchdir(fd)
        result = (
            place.attempt(os.link, place.file("linked"), "name")
            if call == "link"
            else place.attempt(MAKERS[call], "name")
        )
    return result, place.tree()
