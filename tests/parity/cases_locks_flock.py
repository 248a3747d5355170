"""flock(2), and leases: F_SETLEASE."""

from __future__ import annotations

import fcntl
import os
import signal

from tests.parity.files import opened
from tests.parity.harness import Place, case
from tests.parity.records import FAMILIES, WRITE, Range, in_turn, interrupt_soon, locked

KINDS = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX, "none": fcntl.LOCK_UN}
LEASES = {"read": fcntl.F_RDLCK, "write": fcntl.F_WRLCK, "none": fcntl.F_UNLCK}


def _flock(place: Place, fd: int, kind: str) -> object:
    return place.attempt(fcntl.flock, fd, KINDS[kind] | fcntl.LOCK_NB)


# ---------------------------------------------------------------- flock


@case.each(held=list(KINDS), wanted=list(KINDS), target=["file", "directory", "fifo"])
def flock_beside_a_flock(place: Place, held: str, wanted: str, target: str) -> object:
    place.file("file")
    place.directory("directory")
    os.mkfifo(place / "fifo")
    flags = os.O_RDONLY | os.O_NONBLOCK
    with opened(place / target, flags) as first, opened(place / target, flags) as second:
        return _flock(place, first, held), _flock(place, second, wanted)


@case.each(first=list(KINDS), second=list(KINDS), beside=["shared", "none"])
def flock_converted(place: Place, first: str, second: str, beside: str) -> object:
    """Converting is not atomic: who fails to get the other lock has lost the first."""
    place.file("file")
    with (
        opened(place / "file") as mine,
        opened(place / "file") as other,
        opened(place / "file") as third,
    ):
        seen = [_flock(place, mine, first), _flock(place, other, beside)]
        return seen, _flock(place, mine, second), _flock(place, third, "exclusive")


@case.each(flags=["RDONLY", "WRONLY", "RDWR", "PATH"])
def flock_through_a_descriptor(place: Place, flags: str) -> object:
    place.file("file")
    with opened(place / "file", getattr(os, f"O_{flags}")) as fd:
        return [_flock(place, fd, kind) for kind in KINDS]


@case.each(operation=[0, 3, 32, 2**30])
def flock_with_an_impossible_operation(place: Place, operation: int) -> object:
    with opened(place.file("file")) as fd:
        return place.attempt(fcntl.flock, fd, operation | fcntl.LOCK_NB)


@case.each(closed=["copy", "same", "both", "unrelated"])
def flock_after_a_close(place: Place, closed: str) -> object:
    """It lives as long as the open file, whatever descriptors that has."""
    place.file("file")
    fd = os.open(place / "file", os.O_RDONLY)
    fds = {"same": fd, "copy": os.dup(fd), "unrelated": os.open(place / "file", os.O_RDONLY)}
    fcntl.flock(fd, fcntl.LOCK_EX)
    chosen = ("same", "copy") if closed == "both" else (closed,)
    for name in chosen:
        os.close(fds.pop(name))
    with opened(place / "file") as asking:
        seen = _flock(place, asking, "shared")
    for left in fds.values():
        os.close(left)
    return seen


@case.each(how=["inherited", "opened"])
def flock_and_a_child(place: Place, how: str) -> object:
    """An inherited descriptor is the same open file: the child can give the lock away."""
    place.file("file")
    with opened(place / "file") as fd, opened(place / "file") as asking:
        fcntl.flock(fd, fcntl.LOCK_EX)

        def child() -> object:
            mine = fd if how == "inherited" else os.open(place / "file", os.O_RDWR)
            return _flock(place, mine, "exclusive"), _flock(place, mine, "none")

        return place.in_child(child), _flock(place, asking, "exclusive")


@case.each(change=["unlink", "rename", "replace", "link"])
def flock_of_a_file_that_changes(place: Place, change: str) -> object:
    place.file("file")
    place.file("new")
    os.link(place / "file", place / "link")
    with opened(place / "file") as fd:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if change == "unlink":
            os.unlink(place / "file")
        elif change == "rename":
            os.rename(place / "file", place / "moved")
        elif change == "replace":
            os.rename(place / "new", place / "file")
        seen = {}
        for name in ("file", "link", "moved", "new"):
            if (place / name).exists():
                with opened(place / name) as asking:
                    seen[name] = _flock(place, asking, "shared")
        return seen


@case.each(family=list(FAMILIES))
def flock_and_record_locks_do_not_meet(place: Place, family: str) -> object:
    place.file("file")
    with opened(place / "file") as fd, opened(place / "file") as other:
        fcntl.flock(fd, fcntl.LOCK_EX)
        first = locked(place, other, FAMILIES[family], WRITE, Range())
        return first, _flock(place, fd, "none"), _flock(place, other, "exclusive")


@case.each(pair=["exclusive-exclusive", "exclusive-shared", "shared-exclusive"])
def flock_is_waited_for(place: Place, pair: str) -> object:
    path = place.file("file")
    held, wanted = (KINDS[name] for name in pair.split("-"))

    def take(kind: int) -> None:
        fcntl.flock(os.open(path, os.O_RDONLY), kind)

    return place.in_child(in_turn, lambda: take(held), lambda: take(wanted))


@case
def flock_wait_is_interrupted(place: Place) -> object:
    path = place.file("file")

    def wait() -> object:
        with opened(path) as fd:
            interrupt_soon()
            fcntl.flock(fd, fcntl.LOCK_EX)
        return "locked"

    with opened(path) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        return place.in_child(wait)


# ---------------------------------------------------------------- leases


def _lease(fd: int, kind: str) -> tuple[int, int]:
    return fcntl.fcntl(fd, fcntl.F_SETLEASE, LEASES[kind]), fcntl.fcntl(fd, fcntl.F_GETLEASE)


@case.each(kind=list(LEASES), flags=["RDONLY", "WRONLY", "RDWR"])
def lease(place: Place, kind: str, flags: str) -> object:
    place.file("file")
    with opened(place / "file", getattr(os, f"O_{flags}")) as fd:
        return place.attempt(_lease, fd, kind)


@case.each(kind=["read", "write"], other=["RDONLY", "WRONLY"])
def lease_of_a_file_that_is_open(place: Place, kind: str, other: str) -> object:
    place.file("file")
    with opened(place / "file", getattr(os, f"O_{other}")), opened(place / "file", 0) as fd:
        return place.attempt(_lease, fd, kind)


@case.each(target=["directory", "fifo"])
def lease_of_what_is_no_file(place: Place, target: str) -> object:
    place.directory("directory")
    os.mkfifo(place / "fifo")
    with opened(place / target, os.O_RDONLY | os.O_NONBLOCK) as fd:
        return place.attempt(_lease, fd, "read")


@case.each(kind=["read", "write"], by=["RDONLY", "WRONLY", "TRUNC", "unlink"])
def lease_is_broken(place: Place, kind: str, by: str) -> object:
    """The holder gets a signal; who opens without waiting gets EWOULDBLOCK until it lets go."""
    path = place.file("file", b"data")

    def hold() -> object:
        came: list[int] = []
        signal.signal(signal.SIGIO, lambda number, _frame: came.append(number))
        with opened(path, os.O_RDONLY) as fd:
            _lease(fd, kind)
            first = place.attempt(_disturb, path, by)
            asked = fcntl.fcntl(fd, fcntl.F_GETLEASE)
            _lease(fd, "none")
            again = place.attempt(_disturb, path, by)
            return first, len(came), asked, again

    return place.in_child(hold), place.tree()


def _disturb(path: os.PathLike[str], by: str) -> None:
    if by == "unlink":
        os.unlink(path)
        return
    flags = os.O_WRONLY | os.O_TRUNC if by == "TRUNC" else getattr(os, f"O_{by}")
    os.close(os.open(path, flags | os.O_NONBLOCK))
