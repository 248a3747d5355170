"""utimensat and its relatives: values, NOW, OMIT, far times, what they touch."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from tests.parity.harness import Place, case
from tests.parity.making import KINDS, make

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
UTIME_NOW = 0x3FFFFFFF
UTIME_OMIT = 0x3FFFFFFE
NOW = (0, UTIME_NOW)
OMIT = (0, UTIME_OMIT)
OLD = (1_000_000_000, 123_456_789)
SECOND = 10**9
NEAR_S = 5
"""How far a time may be from the present and still be called now."""

Spec = tuple[int, int]


def utimensat(
    place: Place, path: Path | None, times: tuple[Spec, Spec] | None, *, fd: int, flags: int = 0
) -> int:
    """The bare call; Python checks and rounds what it is given."""
    spec = None if times is None else (ctypes.c_long * 4)(*times[0], *times[1])
    if path is None:
        return place.libc.futimens(fd, spec)
    return place.libc.utimensat(fd, os.fsencode(path), spec, flags)


def _set(place: Place, path: Path, atime: Spec, mtime: Spec, flags: int = 0) -> int:
    return utimensat(place, path, (atime, mtime), fd=AT_FDCWD, flags=flags)


def _shown(path: Path) -> tuple[str, str]:
    """Both times in nanoseconds, or "now"."""
    facts = path.lstat()
    return _time(facts.st_atime_ns), _time(facts.st_mtime_ns)


def _time(nanoseconds: int) -> str:
    return "now" if abs(nanoseconds - time.time_ns()) < NEAR_S * SECOND else f"{nanoseconds}"


@case.each(
    seconds=[
        0, 1, -1, 1_700_000_000, -(2**31), -(2**31) + 1,
        2**31 - 1, 2**31, 2**32 - 1, 2**32, 9_223_372_034,
    ],
    nanoseconds=[0, 1, 999_999_999],
)  # fmt: skip
def set_times(place: Place, seconds: int, nanoseconds: int) -> object:
    path = make(place / "it")
    done = place.attempt(_set, place, path, (seconds, nanoseconds), (seconds + 1, nanoseconds))
    return done, _shown(path)


@case.each(seconds=[-(2**31) - 1, -(2**33), -(2**62)])
def set_times_before_1901(place: Place, seconds: int) -> object:
    path = make(place / "it")
    return place.attempt(_set, place, path, (seconds, 5), (seconds, 6)), _shown(path)


@case.each(seconds=[9_223_372_036, 9_223_372_037, 15_032_385_535, 15_032_385_536, 2**40, 2**62])
def set_times_after_2262(place: Place, seconds: int) -> object:
    path = make(place / "it")
    return place.attempt(_set, place, path, (seconds, 5), (seconds, 6)), _shown(path)


SPECS: dict[str, Spec] = {"now": NOW, "omit": OMIT, "old": OLD}


@case.each(kind=["file", "directory", "symlink"], atime=list(SPECS), mtime=list(SPECS))
def now_and_omit(place: Place, kind: str, atime: str, mtime: str) -> object:
    path = make(place / "it", kind)
    _set(place, path, (5, 5), (6, 6), AT_SYMLINK_NOFOLLOW)
    done = place.touched(
        ["it", "."], _set, place, path, SPECS[atime], SPECS[mtime], AT_SYMLINK_NOFOLLOW
    )
    return done, _shown(path)


@case
def null_is_now(place: Place) -> object:
    path = make(place / "it")
    _set(place, path, (5, 5), (6, 6))
    return place.touched(["it"], utimensat, place, path, None, fd=AT_FDCWD), _shown(path)


@case.each(nanoseconds=[-1, SECOND, UTIME_OMIT - 1, UTIME_NOW + 1, 2**62, -(2**63)])
def nanoseconds_out_of_range(place: Place, nanoseconds: int) -> object:
    path = make(place / "it")
    _set(place, path, (5, 5), (6, 6))
    first = place.attempt(_set, place, path, (1, nanoseconds), (1, 1))
    second = place.attempt(_set, place, path, (1, 1), (1, nanoseconds))
    return first, second, _shown(path)


@case
def seconds_beside_now_are_ignored(place: Place) -> object:
    path = make(place / "it")
    done = place.attempt(_set, place, path, (-(2**63), UTIME_NOW), (2**63 - 1, UTIME_OMIT))
    return done, _shown(path)


@case
def omit_both_succeeds_anywhere(place: Place) -> object:
    path = make(place / "it")
    missing = place.attempt(_set, place, place / "none", OMIT, OMIT)
    return missing, place.touched(["it"], _set, place, path, OMIT, OMIT)


@case.each(kind=[*KINDS, "symlink"])
def utimensat_touches(place: Place, kind: str) -> object:
    path = make(place / "it", kind)
    return place.touched(["it", "."], _set, place, path, OLD, OLD, AT_SYMLINK_NOFOLLOW)


@case
def same_times_still_mark_a_change(place: Place) -> object:
    path = make(place / "it")
    _set(place, path, OLD, OLD)
    return place.touched(["it"], _set, place, path, OLD, OLD)


@case.each(flags=[0, AT_SYMLINK_NOFOLLOW])
def symlinks(place: Place, flags: int) -> object:
    make(place / "target")
    link = make(place / "it", "symlink")
    done = place.touched(["it", "target"], _set, place, link, OLD, OLD, flags)
    return done, _shown(link) == _shown(place / "target")


@case.each(flags=[os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_PATH])
def futimens(place: Place, flags: int) -> object:
    path = make(place / "it")
    with place.opened("it", flags) as fd:
        done = place.touched(["it"], utimensat, place, None, (OLD, OLD), fd=fd)
    return done, _shown(path) == ("now", "now")


@case
def empty_path(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it", os.O_PATH) as fd:
        name = b""
        spec = (ctypes.c_long * 4)(*OLD, *OLD)
        refused = place.attempt(place.libc.utimensat, fd, name, spec, 0)
        done = place.attempt(place.libc.utimensat, fd, name, spec, AT_EMPTY_PATH)
    return refused, done, _shown(path)


@case
def unknown_flag(place: Place) -> object:
    path = make(place / "it")
    return place.attempt(_set, place, path, OLD, OLD, 1)


@case
def futimens_of_unlinked_file(place: Place) -> object:
    path = make(place / "it")
    with place.opened("it", os.O_RDONLY) as fd:
        path.unlink()
        done = place.attempt(utimensat, place, None, (OLD, OLD), fd=fd)
        return done, _time(os.fstat(fd).st_mtime_ns)


@case
def times_are_shared_by_links(place: Place) -> object:
    path = make(place / "it")
    os.link(path, place / "link")
    _set(place, path, OLD, OLD)
    return _shown(place / "link")


@case
def times_survive_rename_and_chmod(place: Place) -> object:
    path = make(place / "it")
    _set(place, path, OLD, (77, 88))
    path.chmod(0o600)
    path.rename(place / "new")
    return _shown(place / "new")


@case
def set_times_survive_close_after_writing(place: Place) -> object:
    """What rsync and tar do: write, set the times by descriptor or path, close."""
    with place.opened("it", os.O_CREAT | os.O_WRONLY) as fd:
        os.write(fd, b"x" * 100_000)
        utimensat(place, None, (OLD, OLD), fd=fd)
    os.sync()
    return _shown(place / "it")


@case
def creation_sets_all_times_alike(place: Place) -> object:
    for kind in ("file", "directory", "fifo", "symlink"):
        if kind == "file":
            (place / kind).touch()
        else:
            make(place / kind, kind)
    facts = [(place / name).lstat() for name in ("fifo", "symlink", "file", "directory")]
    return [_time(each.st_mtime_ns) for each in facts], [
        each.st_atime_ns == each.st_mtime_ns for each in facts
    ]


@case
def nanoseconds_are_kept(place: Place) -> object:
    shown = []
    path = make(place / "it")
    for nanoseconds in (1, 10, 100, 999, 1000, 123_456_789, 999_999_999):
        _set(place, path, (7, nanoseconds), (8, nanoseconds))
        shown.append(_shown(path))
    return shown


@case
def old_calls(place: Place) -> object:
    """utime(2) and utimes(2)."""
    path = os.fsencode(make(place / "it"))
    first = place.attempt(place.libc.utime, path, (ctypes.c_long * 2)(11, 12))
    shown = _shown(place / "it")
    second = place.attempt(place.libc.utimes, path, (ctypes.c_long * 4)(11, 5, 12, 6))
    third = place.attempt(place.libc.utimes, path, (ctypes.c_long * 4)(11, 1_000_000, 12, 6))
    return first, shown, second, third, _shown(place / "it")
