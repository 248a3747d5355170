"""inotify(7): which events each call makes, for a watched directory and a watched file."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tests.parity.files import HEAD, opened, pattern
from tests.parity.harness import Place, case

EVENTS = {
    0x1: "ACCESS",
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x10: "CLOSE_NOWRITE",
    0x20: "OPEN",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x400: "DELETE_SELF",
    0x800: "MOVE_SELF",
    0x2000: "UNMOUNT",
    0x4000: "Q_OVERFLOW",
    0x8000: "IGNORED",
    0x40000000: "ISDIR",
}
ALL_EVENTS = 0xFFF
ONLYDIR, DONT_FOLLOW, EXCL_UNLINK = 0x01000000, 0x02000000, 0x04000000
MASK_CREATE, MASK_ADD, ONESHOT = 0x10000000, 0x20000000, 0x80000000
HEADER = struct.Struct("iIII")


class Watcher:
    """An inotify instance; watches are numbered from 1 in the order in which they were made."""

    def __init__(self, place: Place, fd: int) -> None:
        self._place = place
        self._fd = fd

    def watch(self, name: str, mask: int = ALL_EVENTS) -> int:
        """Watch what `name` is; raises OSError."""
        path = bytes(self._place / name)
        return self._place.libc.inotify_add_watch(self._fd, path, mask)

    def forget(self, number: int) -> int:
        """Take a watch away."""
        return self._place.libc.inotify_rm_watch(self._fd, number)

    def events(self) -> list[str]:
        """What has happened since the last call; the two halves of a rename have one number."""
        found, cookies = [], dict[int, int]()
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return []
        while data:
            watch, mask, cookie, length = HEADER.unpack_from(data)
            name = data[HEADER.size : HEADER.size + length].rstrip(b"\0").decode()
            pair = f" #{cookies.setdefault(cookie, len(cookies) + 1)}" if cookie else ""
            found.append(f"{watch} {_names_of(mask)} {name}{pair}".strip())
            data = data[HEADER.size + length :]
        return found


def _names_of(mask: int) -> str:
    return "|".join(name for bit, name in EVENTS.items() if mask & bit)


@contextmanager
def watcher(place: Place) -> Iterator[Watcher]:
    fd = place.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield Watcher(place, fd)
    finally:
        os.close(fd)


# ---------------------------------------------------------------- calls by path

SETXATTR = ("user.label", b"value")
BY_PATH: Mapping[str, Callable[[Place], object]] = {
    "create": lambda p: os.close(os.open(p / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    "open_to_read": lambda p: os.close(os.open(p / "file", os.O_RDONLY)),
    "open_to_write": lambda p: os.close(os.open(p / "file", os.O_RDWR)),
    "open_truncating": lambda p: os.close(os.open(p / "file", os.O_WRONLY | os.O_TRUNC)),
    "open_path_only": lambda p: os.close(os.open(p / "file", os.O_PATH)),
    "open_missing": lambda p: p.attempt(os.open, p / "absent", os.O_RDONLY),
    "read_file": lambda p: (p / "file").read_bytes(),
    "write_file": lambda p: (p / "file").write_bytes(pattern(HEAD + 1)),
    "list": lambda p: os.listdir(p.path),
    "list_below": lambda p: os.listdir(p / "directory"),
    "stat": lambda p: os.stat(p / "file"),
    "readlink": lambda p: os.readlink(p / "symlink"),
    "access": lambda p: os.access(p / "file", os.R_OK),
    "mkdir": lambda p: os.mkdir(p / "new"),
    "rmdir": lambda p: os.rmdir(p / "directory"),
    "symlink": lambda p: os.symlink("target", p / "new"),
    "mkfifo": lambda p: os.mkfifo(p / "new"),
    "mknod": lambda p: os.mknod(p / "new", 0o020600, os.makedev(1, 3)),
    "link": lambda p: os.link(p / "file", p / "new"),
    "unlink": lambda p: os.unlink(p / "file"),
    "unlink_one_of_two": lambda p: os.unlink(p / "second_name"),
    "unlink_symlink": lambda p: os.unlink(p / "symlink"),
    "unlink_missing": lambda p: p.attempt(os.unlink, p / "absent"),
    "rename": lambda p: os.rename(p / "file", p / "new"),
    "rename_over": lambda p: os.rename(p / "file", p / "other"),
    "rename_into": lambda p: os.rename(p / "file", p / "directory/file"),
    "rename_out": lambda p: os.rename(p / "directory/inner", p / "inner"),
    "rename_directory": lambda p: os.rename(p / "directory", p / "new"),
    "rename_to_itself": lambda p: os.rename(p / "file", p / "file"),
    "rename_refused": lambda p: p.attempt(os.rename, p / "file", p / "directory"),
    "exchange": lambda p: p.libc.renameat2(-100, bytes(p / "file"), -100, bytes(p / "other"), 2),
    "chmod": lambda p: os.chmod(p / "file", 0o600),
    "chmod_to_the_same": lambda p: os.chmod(p / "file", 0o644),
    "chown": lambda p: os.chown(p / "file", 1, 1),
    "utime": lambda p: os.utime(p / "file", (1, 1)),
    "utime_present": lambda p: os.utime(p / "file"),
    "truncate_shorter": lambda p: os.truncate(p / "file", 3),
    "truncate_longer": lambda p: os.truncate(p / "file", 3 * HEAD),
    "truncate_to_the_same": lambda p: os.truncate(p / "file", 2 * HEAD),
    "setxattr": lambda p: os.setxattr(p / "file", *SETXATTR),
    "removexattr": lambda p: os.removexattr(p / "second_name", SETXATTR[0]),
    "removexattr_missing": lambda p: p.attempt(os.removexattr, p / "file", "user.absent"),
    "getxattr": lambda p: p.attempt(os.getxattr, p / "file", "user.absent"),
    "change_directory_itself": lambda p: os.chmod(p.path, 0o700),
    "change_below": lambda p: os.chmod(p / "directory/inner", 0o600),
}


@case.each(call=list(BY_PATH))
def events_of(place: Place, call: str) -> object:
    """As seen by watches of the directory, of the file, and of the directory below."""
    place.file("file", pattern(2 * HEAD))
    place.file("other")
    os.link(place.file("first_name"), place / "second_name")
    os.setxattr(place / "first_name", *SETXATTR)
    place.directory("directory")
    if call != "rmdir":
        place.file("directory/inner")
    place.symlink("symlink", "file")
    with watcher(place) as watching:
        numbers = [watching.watch(name) for name in (".", "file", "directory")]
        BY_PATH[call](place)
        return numbers, watching.events()


# ---------------------------------------------------------------- calls on a descriptor


def _store(fd: int) -> None:
    with mmap.mmap(fd, 2 * HEAD) as view:
        view[:4] = b"here"
        view.flush()


BY_DESCRIPTOR: Mapping[str, Callable[[int], object]] = {
    "read": lambda fd: os.read(fd, 10),
    "read_at_the_end": lambda fd: os.pread(fd, 10, 10 * HEAD),
    "read_nothing": lambda fd: os.read(fd, 0),
    "readv": lambda fd: os.readv(fd, [bytearray(4)]),
    "write": lambda fd: os.write(fd, b"data"),
    "write_nothing": lambda fd: os.write(fd, b""),
    "pwrite_behind_the_end": lambda fd: os.pwrite(fd, b"data", 5 * HEAD),
    "ftruncate": lambda fd: os.ftruncate(fd, 5),
    "fchmod": lambda fd: os.fchmod(fd, 0o600),
    "fchown": lambda fd: os.fchown(fd, 1, 1),
    "futime": lambda fd: os.utime(fd, (5, 5)),
    "fsetxattr": lambda fd: os.setxattr(fd, *SETXATTR),
    "fsync": os.fsync,
    "lseek": lambda fd: os.lseek(fd, 10, os.SEEK_SET),
    "fstat": os.fstat,
    "flock": lambda fd: fcntl.flock(fd, fcntl.LOCK_EX),
    "dup_and_close": lambda fd: os.close(os.dup(fd)),
    "sendfile": lambda fd: os.sendfile(fd, fd, 0, 10),
    "copy_file_range": lambda fd: os.copy_file_range(fd, fd, 10, 0, HEAD),
    "store_to_a_map": _store,
    "reopen": lambda fd: os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)),
}


@case.each(call=list(BY_DESCRIPTOR))
def events_of_a_descriptor(place: Place, call: str) -> object:
    place.file("file", pattern(2 * HEAD))
    with watcher(place) as watching:
        with opened(place / "file") as fd:
            numbers = watching.watch("."), watching.watch("file")
            BY_DESCRIPTOR[call](fd)
            seen = watching.events()
        return numbers, seen, watching.events()


@case
def events_of_a_posix_fallocate(place: Place) -> object:
    with watcher(place) as watching, opened(place.file("file")) as fd:
        watching.watch("file")
        os.posix_fallocate(fd, 0, 10)
        return watching.events()


# ---------------------------------------------------------------- the end of what is watched


@case.each(target=["file", "symlink", "fifo", "directory"])
def events_of_the_last_name(place: Place, target: str) -> object:
    place.file("file")
    place.symlink("symlink", "nowhere")
    os.mkfifo(place / "fifo")
    place.directory("directory")
    with watcher(place) as watching:
        number = watching.watch(target, ALL_EVENTS | DONT_FOLLOW)
        (os.rmdir if target == "directory" else os.unlink)(place / target)
        return number, watching.events()


@case.each(target=["file", "directory"])
def events_of_the_last_descriptor(place: Place, target: str) -> object:
    """An open file ends with its last descriptor."""
    place.file("file")
    place.directory("directory")
    with watcher(place) as watching:
        watching.watch(target)
        with opened(place / target, os.O_RDONLY):
            (os.rmdir if target == "directory" else os.unlink)(place / target)
            seen = watching.events()
        return seen, watching.events()


@case
def events_of_a_file_that_another_replaces(place: Place) -> object:
    place.file("file")
    place.file("new", b"new")
    with watcher(place) as watching:
        watching.watch("file")
        watching.watch("new")
        os.rename(place / "new", place / "file")
        (place / "file").read_bytes()
        return watching.events()


@case.each(mask=["EXCL_UNLINK", "plain"])
def events_of_children_without_a_name(place: Place, mask: str) -> object:
    place.file("file", b"data")
    with watcher(place) as watching:
        watching.watch(".", ALL_EVENTS | (EXCL_UNLINK if mask == "EXCL_UNLINK" else 0))
        with opened(place / "file") as fd:
            os.unlink(place / "file")
            os.write(fd, b"more")
        return watching.events()


# ---------------------------------------------------------------- making and removing watches

WATCHES: Mapping[str, tuple[str, int]] = {
    "file": ("file", ALL_EVENTS),
    "file_as_directory": ("file", ALL_EVENTS | ONLYDIR),
    "directory_as_directory": ("directory", ALL_EVENTS | ONLYDIR),
    "through_a_symlink": ("symlink", ALL_EVENTS),
    "symlink_itself": ("symlink", ALL_EVENTS | DONT_FOLLOW),
    "absent": ("absent", ALL_EVENTS),
    "below_a_file": ("file/name", ALL_EVENTS),
    "no_events": ("file", 0),
    "second_watch": ("other_name", ALL_EVENTS),
    "second_watch_refused": ("other_name", ALL_EVENTS | MASK_CREATE),
    "added_to_the_first": ("other_name", 0x4 | MASK_ADD),
    "add_and_create": ("file", ALL_EVENTS | MASK_ADD | MASK_CREATE),
    "once": ("file", ALL_EVENTS | ONESHOT),
}


@case.each(how=list(WATCHES))
def watch_made(place: Place, how: str) -> object:
    place.file("file", b"data")
    os.link(place / "file", place / "other_name")
    place.directory("directory")
    place.symlink("symlink", "file")
    name, mask = WATCHES[how]
    with watcher(place) as watching:
        first = watching.watch("other_name", 0x20) if "other_name" in name else None
        number = place.attempt(watching.watch, name, mask)
        (place / "file").read_bytes()
        os.chmod(place / "file", 0o600)
        os.unlink(place / "symlink")
        return first, number, watching.events()


@case
def watch_removed(place: Place) -> object:
    place.file("file", b"data")
    with watcher(place) as watching:
        number = watching.watch("file")
        results = place.attempt(watching.forget, number), place.attempt(watching.forget, number)
        (place / "file").read_bytes()
        return results, watching.events()


@case.each(mode=[0o000, 0o444])
def watch_needs_permission_to_read(place: Place, mode: int) -> object:
    place.file("file", b"data", mode)

    def watch() -> object:
        with watcher(place) as watching:
            return place.attempt(watching.watch, "file")

    return place.as_user(1000, 1000, [], watch)


@case
def equal_events_become_one(place: Place) -> object:
    with watcher(place) as watching, opened(place.file("file")) as fd:
        watching.watch("file")
        for number in range(5):
            os.pwrite(fd, b"data", number * HEAD)
        os.fchmod(fd, 0o600)
        os.pwrite(fd, b"data", 0)
        return watching.events()


@case
def events_of_what_another_process_does(place: Place) -> object:
    with watcher(place) as watching:
        watching.watch(".")
        done = place.in_child(lambda: place.file("made", pattern(2 * HEAD)).name)
        return done, watching.events()


@case
def events_through_a_second_name(place: Place) -> object:
    """A directory's watch tells what is done through its own names only."""
    place.directory("one")
    place.directory("two")
    place.file("one/file", b"data")
    os.link(place / "one/file", place / "two/link")
    with watcher(place) as watching:
        numbers = [watching.watch(name) for name in ("one", "two", "one/file")]
        (place / "two/link").write_bytes(b"new")
        return numbers, watching.events()
