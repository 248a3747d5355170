"""What each process of a run does, drawn from the seed and the number of the process alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.concurrency.aside import LOOSE_CALLS, LOOSE_NAMES
from tests.concurrency.calls import Call
from tests.concurrency.tree import FLEETING, FOLDERS, SIZED, SOURCES

SLOTS = 2
"""Files that one process has open at most."""

PAGE = 4096
RENAMES = (0, 0, 0, 1, 2)
"""Flags of renameat2(2): none, NOREPLACE, EXCHANGE."""

STEP = 64
"""Bytes that are appended at once: all in one page, or a size could be seen in between."""

FEW = ("a", "b", "c", "d/x", "d/y", "e/x")
"""Names that processes quarrel for, some in directories that come and go."""

SOME = tuple(f"{folder}/{name}" for folder in FOLDERS for name in "abcd")

Arguments = tuple[tuple[str, ...], int, tuple[int, ...]]
"""Paths, handle and numbers of a call."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Chance, and what it chooses from."""

    chance: random.Random
    worker: int
    names: tuple[str, ...]
    head: int

    def name(self) -> str:
        """Any name."""
        return self.chance.choice(self.names)

    def handle(self) -> int:
        """One of the process's own, be it open or not."""
        return self.worker * SLOTS + self.chance.randrange(SLOTS)

    def number(self) -> int:
        """The seed of what a call draws itself."""
        return self.chance.getrandbits(32)


def _name(draw: Draw) -> Arguments:
    return (draw.name(),), -1, ()


def _folder(draw: Draw) -> Arguments:
    return (draw.chance.choice(FLEETING),), -1, ()


def _listed(draw: Draw) -> Arguments:
    return (draw.chance.choice(("", *FOLDERS, *FLEETING)),), -1, ()


def _two_names(draw: Draw) -> Arguments:
    paths = tuple(draw.chance.choices(draw.names, k=2))
    return paths, -1, (draw.chance.choice(RENAMES),)


def _link(draw: Draw) -> Arguments:
    return (SOURCES[draw.worker], draw.name()), -1, ()


def _sized(draw: Draw) -> Arguments:
    return (draw.chance.choice(SIZED),), -1, ()


def _append(draw: Draw) -> Arguments:
    return (draw.chance.choice(SIZED),), -1, (STEP,)


def _truncate(draw: Draw) -> Arguments:
    sizes = (0, STEP, draw.head - STEP, draw.head, draw.head + PAGE)
    return (draw.chance.choice(SIZED),), -1, (draw.chance.choice(sizes),)


def _handle(draw: Draw) -> Arguments:
    return (), draw.handle(), ()


def _name_and_handle(draw: Draw) -> Arguments:
    return (draw.name(),), draw.handle(), ()


def _pwrite(draw: Draw) -> Arguments:
    """All in one page: of a longer range a size could be seen in between."""
    page = draw.chance.choice((0, draw.head - PAGE, draw.head))
    start = draw.chance.randrange(PAGE)
    return (), draw.handle(), (page + start, draw.chance.randint(1, PAGE - start))


def _ftruncate(draw: Draw) -> Arguments:
    near = draw.chance.choice((0, 0, PAGE, draw.head, 2 * draw.head))
    return (), draw.handle(), (max(0, near + draw.chance.randrange(-2, 3)),)


def _loose(draw: Draw) -> Arguments:
    return tuple(draw.chance.choices(LOOSE_NAMES, k=2)), -1, (draw.number(),)


def _number(draw: Draw) -> Arguments:
    return (), -1, (draw.number(),)


ARGUMENTS: Mapping[str, Callable[[Draw], Arguments]] = {
    **dict.fromkeys(("create", "look", "symlink", "unlink", "mkdir", "rmdir"), _name),
    **dict.fromkeys(("make_folder", "remove_folder"), _folder),
    **dict.fromkeys(("state", "fsync", "close"), _handle),
    **dict.fromkeys(("open", "link_open"), _name_and_handle),
    **dict.fromkeys(LOOSE_CALLS, _loose),
    **dict.fromkeys(("record", "churn", "crowded", "alone"), _number),
    "list": _listed,
    "rename": _two_names,
    "link": _link,
    "size": _sized,
    "append": _append,
    "truncate": _truncate,
    "pwrite": _pwrite,
    "ftruncate": _ftruncate,
}

CALLED = {"make_folder": "mkdir", "remove_folder": "rmdir"}
"""Draws that are another call with arguments of its own."""

OF_NAMES = Counter(create=6, mkdir=1, symlink=1, unlink=5, rmdir=2, rename=4, look=2, list=1)
OF_FOLDERS = Counter(make_folder=3, remove_folder=1)
OF_HANDLES = Counter(open=8, state=6, pwrite=4, ftruncate=3, link_open=8, close=1, fsync=1)
OF_SIZES = Counter(append=2, truncate=1, size=2, list=1)
RECORDS = Counter(record=1)
LISTINGS = Counter(churn=3, crowded=1)
LOOSE = Counter(LOOSE_CALLS)


@dataclass(frozen=True, slots=True)
class Profile:
    """Names, and how often each call is drawn."""

    names: tuple[str, ...]
    weights: Mapping[str, int]


PROFILES: Mapping[str, Profile] = {
    "names": Profile(FEW, OF_NAMES + OF_FOLDERS + Counter(look=3, link=3)),
    "files": Profile(SOME, OF_NAMES + OF_HANDLES),
    "sizes": Profile(FEW, OF_SIZES),
    "records": Profile(FEW, RECORDS),
    "listings": Profile(FEW, LISTINGS),
    "loose": Profile(FEW, LOOSE),
    "race": Profile(FEW, Counter()),
    "all": Profile(
        (*SOME, *FEW[:4]),
        Counter({name: 8 * n for name, n in (OF_NAMES + OF_HANDLES + OF_SIZES).items()})
        + Counter(make_folder=8, remove_folder=8, record=100, churn=12, crowded=8, alone=8)
        + LOOSE,
    ),
}


def program(profile: str, seed: int, worker: int, length: int, head: int) -> list[Call]:
    """The calls of one process; those of `race` are the same for all."""
    if profile == "race":
        cycle = _race(worker)
        return [cycle[index % len(cycle)] for index in range(length)]
    chosen = PROFILES[profile]
    chance = random.Random(f"{profile} {seed} {worker}")
    draw = Draw(chance, worker, chosen.names, head)
    names = chance.choices(list(chosen.weights), list(chosen.weights.values()), k=length)
    calls = [Call(CALLED.get(name, name), *ARGUMENTS[name](draw)) for name in names]
    closing = [Call("close", handle=worker * SLOTS + slot) for slot in range(SLOTS)]
    return calls + closing


def _race(worker: int) -> list[Call]:
    """What only one can win, and what makes it possible again."""
    mine = f"moved-{worker}"
    remove = Call("unlink", ("n",))
    return [
        Call("create", ("n",)),
        remove,
        Call("mkdir", ("n",)),
        Call("rmdir", ("n",)),
        Call("symlink", ("n",)),
        remove,
        Call("link", (SOURCES[worker], "n")),
        remove,
        Call("create", ("m",)),
        Call("rename", ("m", mine), numbers=(0,)),
        Call("unlink", (mine,)),
    ]
