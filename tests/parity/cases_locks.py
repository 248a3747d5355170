"""Record locks, of a process (POSIX) and of an open file (OFD), and how the two get on."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

from tests.parity.files import opened, pattern
from tests.parity.harness import Place, case
from tests.parity.records import (
    FAMILIES,
    KINDS,
    NONE,
    READ,
    SOON,
    WRITE,
    Family,
    Range,
    in_the_way,
    in_turn,
    interrupt_soon,
    lock,
    locked,
    waits_for_a_lock,
)
from tests.support.proc import wait_until

HELD = Range(10, 10)
RANGES = {
    "same": HELD,
    "inside": Range(12, 2),
    "around": Range(0, 100),
    "all": Range(),
    "before": Range(0, 10),
    "behind": Range(20, 5),
    "first_byte": Range(10, 1),
    "last_byte": Range(19, 1),
}
SHORT_RANGES = {name: where for name, where in RANGES.items() if where.length}
EVERYTHING = Range()
AT_LAST = 5
"""Seconds after which a wait that should end by itself is given up."""

POSIX = FAMILIES["posix"]
OPEN_FILE = FAMILIES["ofd"]


def other(place: Place, family: Family, call: Callable[[int], object]) -> object:
    """What another owner of locks sees: a process, or an open file of this one."""

    def look() -> object:
        with opened(place / "file") as fd:
            return call(fd)

    return place.in_child(look) if family is POSIX else look()


# ---------------------------------------------------------------- who gets which lock


@case.each(family=list(FAMILIES), held=["read", "write"], wanted=list(KINDS))
def lock_beside_a_lock(place: Place, family: str, held: str, wanted: str) -> object:
    place.file("file", pattern(100))
    chosen, kind = FAMILIES[family], KINDS[wanted]
    with opened(place / "file") as fd:
        lock(fd, chosen.lock, KINDS[held], HELD)

        def ask(asking: int) -> object:
            found = {}
            for name, where in RANGES.items():
                found[name] = (
                    in_the_way(place, asking, chosen, kind, where),
                    locked(place, asking, chosen, kind, where),
                )
                lock(asking, chosen.lock, NONE, EVERYTHING)
            return found

        return other(place, chosen, ask)


@case.each(family=list(FAMILIES), first=list(KINDS), second=list(KINDS))
def lock_changed_by_its_owner(place: Place, family: str, first: str, second: str) -> object:
    """The second call replaces the first where both apply: locks split, shrink and join."""
    place.file("file", pattern(100))
    chosen = FAMILIES[family]
    with opened(place / "file") as fd:
        for base, where in enumerate(SHORT_RANGES.values()):
            lock(fd, chosen.lock, KINDS[first], _moved(HELD, base))
            lock(fd, chosen.lock, KINDS[second], _moved(where, base))

        def probe(asking: int) -> object:
            return {
                (name, at): in_the_way(place, asking, chosen, WRITE, _moved(Range(at, 1), base))
                for base, name in enumerate(SHORT_RANGES)
                for at in (0, 9, 10, 11, 12, 14, 19, 20, 24, 25)
            }

        return other(place, chosen, probe)


def _moved(where: Range, base: int) -> Range:
    """The same range among the `base`-th hundred bytes."""
    return where._replace(start=where.start + 100 * base)


@case.each(family=list(FAMILIES), whence=["SET", "CUR", "END"], length=[0, 5, -5])
def lock_relative_to(place: Place, family: str, whence: str, length: int) -> object:
    place.file("file", pattern(100))
    chosen = FAMILIES[family]
    where = Range(0 if whence == "END" else 20, length, getattr(os, f"SEEK_{whence}"))
    with opened(place / "file") as fd:
        os.lseek(fd, 30, os.SEEK_SET)
        result = locked(place, fd, chosen, WRITE, where)

        def probe(asking: int) -> object:
            return [
                in_the_way(place, asking, chosen, WRITE, Range(at, 1))
                for at in (0, 14, 15, 19, 20, 24, 25, 44, 45, 50, 54, 55, 94, 95, 99, 100, 104, 105)
            ]

        return result, other(place, chosen, probe)


IMPOSSIBLE = {
    "negative_start": Range(-1, 1),
    "negative_range": Range(2, -5),
    "too_far": Range(2**63 - 1, 2),
    "last": Range(2**63 - 1, 1),
    "whence": Range(0, 1, 9),
    "before_the_end": Range(-200, 1, os.SEEK_END),
}


@case.each(family=list(FAMILIES), what=list(IMPOSSIBLE))
def lock_of_an_impossible_range(place: Place, family: str, what: str) -> object:
    place.file("file", pattern(100))
    with opened(place / "file") as fd:
        return (
            locked(place, fd, FAMILIES[family], WRITE, IMPOSSIBLE[what]),
            in_the_way(place, fd, FAMILIES[family], WRITE, IMPOSSIBLE[what]),
        )


@case.each(family=list(FAMILIES), kind=[7, -1])
def lock_of_an_impossible_kind(place: Place, family: str, kind: int) -> object:
    with opened(place.file("file")) as fd:
        return locked(place, fd, FAMILIES[family], kind, HELD)


@case.each(family=list(FAMILIES), pid=[1, -1])
def lock_with_a_process_number(place: Place, family: str, pid: int) -> object:
    """Open-file locks want 0 there."""
    with opened(place.file("file")) as fd:
        result = place.attempt(lock, fd, FAMILIES[family].lock, WRITE, HELD, pid)
        return result if isinstance(result, str) else "ok"


@case.each(family=list(FAMILIES), flags=["RDONLY", "WRONLY", "RDWR", "PATH"])
def lock_through_a_descriptor(place: Place, family: str, flags: str) -> object:
    place.file("file")
    with opened(place / "file", getattr(os, f"O_{flags}")) as fd:
        return [locked(place, fd, FAMILIES[family], kind, HELD) for kind in (READ, WRITE, NONE)]


@case.each(family=list(FAMILIES), target=["directory", "fifo"])
def lock_of_what_is_no_file(place: Place, family: str, target: str) -> object:
    place.directory("directory")
    os.mkfifo(place / "fifo")
    with opened(place / target, os.O_RDONLY | os.O_NONBLOCK) as fd:
        return [locked(place, fd, FAMILIES[family], kind, HELD) for kind in (READ, WRITE, NONE)]


# ---------------------------------------------------------------- how long a lock lives


@case.each(family=list(FAMILIES), closed=["other", "copy", "same"])
def lock_after_a_close(place: Place, family: str, closed: str) -> object:
    """A process loses its locks with any descriptor of the file, an open file with its last."""
    place.file("file", pattern(100))
    chosen = FAMILIES[family]
    with ExitStack() as stack:
        fd = os.open(place / "file", os.O_RDWR)
        copy = os.dup(fd)
        lock(fd, chosen.lock, WRITE, HELD)
        if closed == "other":
            os.close(os.open(place / "file", os.O_RDONLY))
        if closed == "copy":
            os.close(copy)
        else:
            stack.callback(os.close, copy)
        if closed == "same":
            os.close(fd)
        else:
            stack.callback(os.close, fd)
        return other(place, chosen, lambda asking: in_the_way(place, asking, chosen, WRITE, HELD))


@case.each(family=list(FAMILIES))
def lock_inherited_by_a_child(place: Place, family: str) -> object:
    """A process's locks stay its own; those of an open file are the child's as well."""
    place.file("file", pattern(100))
    chosen = FAMILIES[family]
    with opened(place / "file") as fd:
        lock(fd, chosen.lock, WRITE, HELD)

        def look() -> object:
            return (
                in_the_way(place, fd, chosen, WRITE, HELD),
                locked(place, fd, chosen, WRITE, HELD),
                locked(place, fd, chosen, NONE, HELD),
            )

        seen = place.in_child(look)
        return seen, other(place, chosen, lambda it: in_the_way(place, it, chosen, WRITE, HELD))


@case.each(family=list(FAMILIES))
def lock_ends_with_its_process(place: Place, family: str) -> object:
    place.file("file", pattern(100))
    chosen = FAMILIES[family]

    def take() -> object:
        return lock(os.open(place / "file", os.O_RDWR), chosen.lock, WRITE, HELD)

    taken = place.in_child(take)
    return taken, other(place, chosen, lambda fd: locked(place, fd, chosen, WRITE, HELD))


@case.each(family=list(FAMILIES), change=["unlink", "rename", "truncate", "link"])
def lock_of_a_file_that_changes(place: Place, family: str, change: str) -> object:
    """Locks belong to the file, not to its name or its bytes."""
    place.file("file", pattern(100))
    os.link(place / "file", place / "link")
    chosen = FAMILIES[family]
    with opened(place / "link" if change == "link" else place / "file") as fd:
        lock(fd, chosen.lock, WRITE, HELD)
        if change == "unlink":
            os.unlink(place / "file")
            os.rename(place / "link", place / "file")
        elif change == "rename":
            os.rename(place / "file", place / "moved")
            os.rename(place / "moved", place / "file")
        elif change == "truncate":
            os.truncate(place / "file", 0)
        return other(place, chosen, lambda it: in_the_way(place, it, chosen, READ, HELD))


@case.each(holder=list(FAMILIES), asker=list(FAMILIES))
def locks_of_both_families(place: Place, holder: str, asker: str) -> object:
    """In one process, through two descriptors: an open file's lock is in a process's way."""
    place.file("file", pattern(100))
    with opened(place / "file") as first, opened(place / "file") as second:
        lock(first, FAMILIES[holder].lock, WRITE, HELD)
        return (
            in_the_way(place, second, FAMILIES[asker], READ, HELD),
            locked(place, second, FAMILIES[asker], READ, HELD),
        )


# ---------------------------------------------------------------- waiting


@case.each(family=list(FAMILIES), pair=["write-write", "write-read", "read-write"])
def lock_is_waited_for(place: Place, family: str, pair: str) -> object:
    path = place.file("file", pattern(100))
    held, wanted = (KINDS[name] for name in pair.split("-"))
    chosen = FAMILIES[family]

    def take(command: int, kind: int) -> None:
        lock(os.open(path, os.O_RDWR), command, kind, HELD)

    return place.in_child(
        in_turn, lambda: take(chosen.lock, held), lambda: take(chosen.wait, wanted)
    )


@case.each(family=list(FAMILIES))
def waiting_is_interrupted(place: Place, family: str) -> object:
    place.file("file", pattern(100))
    chosen = FAMILIES[family]

    def wait() -> object:
        with opened(place / "file") as fd:
            interrupt_soon()
            return lock(fd, chosen.wait, WRITE, HELD)

    with opened(place / "file") as holder:
        lock(holder, chosen.lock, WRITE, HELD)
        return place.in_child(wait)


@case.each(family=list(FAMILIES))
def two_that_wait_for_each_other(place: Place, family: str) -> object:
    """EDEADLK, but open-file locks are not looked at (fcntl(2)): there, a signal ends the wait."""
    place.file("file", pattern(100))
    chosen = FAMILIES[family]
    mine, theirs = Range(0, 1), Range(1, 1)

    def one() -> object:
        with opened(place / "file") as fd:
            lock(fd, chosen.lock, WRITE, mine)
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                with opened(place / "file") as again:
                    lock(again, chosen.lock, WRITE, theirs)
                    os.write(writing, b"!")
                    lock(again, chosen.wait, WRITE, mine)
                os._exit(0)
            os.read(reading, 1)
            if chosen is POSIX:
                wait_until(lambda: waits_for_a_lock(pid), what="the other process waits")
            interrupt_soon(AT_LAST if chosen is POSIX else SOON)
            result = place.attempt(lock, fd, chosen.wait, WRITE, theirs)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return result

    return place.in_child(one)


# ---------------------------------------------------------------- lockf


@case.each(command=["F_LOCK", "F_TLOCK", "F_TEST", "F_ULOCK"])
def lockf_beside_a_lock(place: Place, command: str) -> object:
    place.file("file", pattern(100))
    with opened(place / "file") as fd:
        os.lseek(fd, 10, os.SEEK_SET)
        os.lockf(fd, getattr(os, command) if command != "F_TEST" else os.F_LOCK, 10)

        def look(asking: int) -> object:
            os.lseek(asking, 15, os.SEEK_SET)
            return [place.attempt(os.lockf, asking, os.F_TLOCK, size) for size in (0, 1, -5, -6)]

        return other(place, POSIX, look), place.attempt(os.lockf, fd, os.F_TEST, 0)


@case
def python_lockf_is_the_same_lock(place: Place) -> object:
    with opened(place.file("file")) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 10)
        return other(place, POSIX, lambda it: in_the_way(place, it, POSIX, READ, Range()))


@case
def open_file_lock_is_in_the_way_of_a_process(place: Place) -> object:
    place.file("file")
    with opened(place / "file") as fd:
        lock(fd, OPEN_FILE.lock, WRITE, HELD)
        return place.in_child(lambda: in_the_way(place, os.dup(fd), POSIX, READ, Range()))
