"""Listing directories: getdents64 and the streams of the C library, also while they change."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.parity import kinds
from tests.parity.directory_streams import Record, Stream, getdents, rest
from tests.parity.harness import Place, case

COUNTS = [0, 1, 2, 10, 100, 300]
"""Entries: some listings need several calls of getdents, and several pages of the index."""


def names_of(records: list[Record]) -> list[str]:
    """Sorted: each filesystem has an order of its own. Double entries stay visible."""
    return sorted(record.name for record in records)


def fill(place: Place, count: int) -> list[str]:
    """Make that many files; returns their names."""
    names = [f"file-{number:04}" for number in range(count)]
    for name in names:
        os.close(os.open(place / name, os.O_CREAT | os.O_WRONLY, 0o644))
    return names


@case.each(count=COUNTS, size=[280, 1024, 4096, 32768])
def list_in_buffer(place: Place, count: int, size: int) -> object:
    fill(place, count)
    with place.opened(".") as fd:
        return names_of(rest(place, fd, size)), len(getdents(place, fd, size))


@case.each(size=[0, 1, 18, 23])
def buffer_too_small(place: Place, size: int) -> object:
    fill(place, 2)
    with place.opened(".") as fd:
        return place.attempt(getdents, place, fd, size), names_of(rest(place, fd))


@case
def kinds_are_told(place: Place) -> object:
    for kind in kinds.PRESENT:
        kinds.make(place, kind, kind)
    with place.opened(".") as fd:
        return sorted((record.name, record.kind) for record in rest(place, fd))


@case
def numbers_are_those_of_stat(place: Place) -> object:
    for kind in kinds.PRESENT:
        kinds.make(place, kind, kind)
    os.link(place / "file", place / "hard")
    with place.opened(".") as fd:
        return sorted(
            (record.name, record.ino == os.lstat(place / record.name).st_ino)
            for record in rest(place, fd)
        )


@case
def numbers_of_dots_below(place: Place) -> object:
    place.directory("a")
    place.directory("a/b")
    with place.opened("a/b") as fd:
        return [
            record.ino == os.stat(place / "a/b" / record.name).st_ino for record in rest(place, fd)
        ]


@case
def name_of_255_bytes_is_listed(place: Place) -> object:
    long = "n" * 255
    for name in (long, "short", "\u00fc" * 127):
        place.file(name)
    with place.opened(".") as fd:
        return names_of(rest(place, fd, 300)), sorted(os.listdir(place.path))


@case.each(count=[3, 100, 300])
def every_position_can_be_resumed(place: Place, count: int) -> object:
    """What follows a position is what followed it the first time."""
    fill(place, count)
    with place.opened(".") as fd:
        records = rest(place, fd)
        steps = range(0, len(records), max(1, count // 20))
        good = []
        for step in steps:
            os.lseek(fd, records[step].position, os.SEEK_SET)
            following = [record.name for record in rest(place, fd)]
            good.append(following == [record.name for record in records[step + 1 :]])
    return len(records), good


@case.each(count=[0, 3, 300])
def rewind(place: Place, count: int) -> object:
    names = fill(place, count)
    with place.opened(".") as fd:
        first = names_of(rest(place, fd))
        os.lseek(fd, 0, os.SEEK_SET)
        place.file("made meanwhile")
        for name in names[:1]:
            os.unlink(place / name)
        second = names_of(rest(place, fd))
    return first, second


@case
def position_is_that_of_the_last_entry(place: Place) -> object:
    fill(place, 5)
    with place.opened(".") as fd:
        start = os.lseek(fd, 0, os.SEEK_CUR)
        records = getdents(place, fd)
        return start, os.lseek(fd, 0, os.SEEK_CUR) == records[-1].position


@case.each(offset=[-1, -(2**62)], whence=[os.SEEK_SET, os.SEEK_CUR])
def seek_before_the_beginning(place: Place, offset: int, whence: int) -> object:
    fill(place, 3)
    with place.opened(".") as fd:
        return place.attempt(os.lseek, fd, offset, whence), names_of(rest(place, fd))


@case.each(whence=[7, -1, 100])
def seek_with_unknown_whence(place: Place, whence: int) -> object:
    with place.opened(".") as fd:
        return place.attempt(os.lseek, fd, 0, whence)


@case
def duplicate_shares_the_position(place: Place) -> object:
    fill(place, 300)
    with place.opened(".") as fd:
        first = getdents(place, fd, 1024)
        other = os.dup(fd)
        try:
            following = rest(place, other)
        finally:
            os.close(other)
        return names_of(first + following), names_of(rest(place, fd))


@case
def two_descriptors_have_two_positions(place: Place) -> object:
    fill(place, 300)
    with place.opened(".") as left, place.opened(".") as right:
        first = getdents(place, left, 1024)
        whole = rest(place, right)
        return names_of(first + rest(place, left)) == names_of(whole), len(whole)


@case.each(removed=["every second", "all", "those listed", "those to come"])
def listing_while_names_go(place: Place, removed: str) -> object:
    """What stays throughout is listed once; nothing is listed twice."""
    names = fill(place, 300)
    with place.opened(".") as fd:
        listed = getdents(place, fd, 4096)
        seen = {record.name for record in listed}
        chosen = {
            "every second": names[::2],
            "all": names,
            "those listed": [name for name in names if name in seen],
            "those to come": [name for name in names if name not in seen],
        }[removed]
        for name in chosen:
            os.unlink(place / name)
        listed += rest(place, fd)
    found = [record.name for record in listed]
    stayed = set(names) - set(chosen)
    left = set(os.listdir(place.path))
    return stayed <= set(found), len(found) == len(set(found)), left == stayed


@case
def listing_while_names_come(place: Place) -> object:
    names = fill(place, 300)
    with place.opened(".") as fd:
        listed = getdents(place, fd, 4096)
        for number in range(100):
            place.file(f"new-{number}")
        listed += rest(place, fd)
    found = [record.name for record in listed]
    return set(names) <= set(found), len(found) == len(set(found)), len(os.listdir(place.path))


@case
def listing_while_others_are_renamed(place: Place) -> object:
    names = fill(place, 300)
    with place.opened(".") as fd:
        listed = getdents(place, fd, 4096)
        for name in names[::7]:
            os.rename(place / name, place / f"moved-{name}")
        listed += rest(place, fd)
    found = [record.name for record in listed]
    stayed = {name for number, name in enumerate(names) if number % 7}
    return stayed <= set(found), all(found.count(name) == 1 for name in stayed)


@case.each(how=["another name", "away and back", "another directory"])
def renaming_each_while_listing(place: Place, how: str) -> object:
    """Such a loop ends: what was renamed is not listed again and again."""
    above = place.directory("above")
    place.directory("elsewhere")
    fill(Place(above), 600)
    steps = 0
    with place.opened("above") as fd:
        while (records := getdents(place, fd, 2048)) and steps < 20_000:
            for record in records:
                if record.name not in {".", ".."}:
                    steps += 1
                    _rename_as(place, record.name, how)
    kept = len(os.listdir(above)), len(os.listdir(place / "elsewhere"))
    return steps < 20_000, kept


@case
def making_one_for_each_while_listing(place: Place) -> object:
    """Such a loop ends, too."""
    above = place.directory("above")
    fill(Place(above), 300)
    steps = 0
    with place.opened("above") as fd:
        while (records := getdents(place, fd, 2048)) and steps < 3_000:
            for record in records:
                if record.name not in {".", ".."}:
                    steps += 1
                    (above / f"new-{steps}").touch()
    return steps < 3_000


def _rename_as(place: Place, name: str, how: str) -> None:
    source = place / "above" / name
    if how == "another directory":
        os.rename(source, place / "elsewhere" / name)
        return
    target = place / "above" / f"{name}-renamed"[-200:]
    os.rename(source, target)
    if how == "away and back":
        os.rename(target, source)


@case
def removing_while_listing_leaves_nothing(place: Place) -> object:
    """As rm -r does with small buffers."""
    fill(place, 300)
    with place.opened(".") as fd:
        while records := getdents(place, fd, 2048):
            for record in records:
                if record.name not in {".", ".."}:
                    os.unlink(place / record.name)
    return os.listdir(place.path)


@case
def descriptor_of_removed_directory(place: Place) -> object:
    place.directory("gone")
    with place.opened("gone") as fd:
        os.rmdir(place / "gone")
        return place.attempt(getdents, place, fd), place.attempt(os.lseek, fd, 0, os.SEEK_SET)


@case.each(kind=kinds.ALL)
def open_as_directory(place: Place, kind: str) -> object:
    kinds.make(place, "name", kind)

    def look() -> list[str]:
        fd = os.open(place / "name", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return names_of(rest(place, fd))
        finally:
            os.close(fd)

    return place.attempt(look), place.attempt(os.listdir, place / "name")


@case
def getdents_of_a_file(place: Place) -> object:
    place.file("file")
    with place.opened("file") as fd, place.opened(".", os.O_PATH) as path:
        return place.attempt(getdents, place, fd), place.attempt(getdents, place, path)


@case.each(call=["read", "write", "pread", "ftruncate", "sendfile", "fsync", "fdatasync"])
def file_calls_on_a_directory(place: Place, call: str) -> object:
    calls: dict[str, Callable[[int], object]] = {
        "read": lambda fd: os.read(fd, 10),
        "write": lambda fd: os.write(fd, b"x"),
        "pread": lambda fd: os.pread(fd, 10, 0),
        "ftruncate": lambda fd: os.ftruncate(fd, 0),
        "sendfile": lambda fd: os.sendfile(fd, fd, 0, 10),
        "fsync": os.fsync,
        "fdatasync": os.fdatasync,
    }
    with place.opened(".") as fd:
        return place.attempt(calls[call], fd)


@case.each(flags=[os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_CREAT, os.O_APPEND])
def open_directory_for_writing(place: Place, flags: int) -> object:
    return place.attempt(lambda: os.close(os.open(place.path, flags)))


@case
def listing_touches_nothing(place: Place) -> object:
    fill(place, 3)
    return place.touched([".", "file-0000"], os.listdir, place.path)


@case.each(count=[3, 300])
def stream_positions(place: Place, count: int) -> object:
    """opendir, readdir, telldir, seekdir, rewinddir, closedir of the C library."""
    fill(place, count)
    stream = Stream(place)
    try:
        told: list[tuple[int, str]] = []
        while (name := stream.read()) is not None:
            told.append((stream.tell(), name))
        names = [name for _, name in told]
        resumed = []
        for number in range(0, len(told) - 1, max(1, count // 10)):
            stream.seek(told[number][0])
            resumed.append(stream.read() == names[number + 1])
        stream.rewind()
        again = []
        while (name := stream.read()) is not None:
            again.append(name)
    finally:
        stream.close()
    return sorted(names), resumed, names == again
