"""An operating system that fails, writes short, runs out of room or is killed at a chosen call."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar, cast

from tierfs.common.osio import Os

P = ParamSpec("P")
T = TypeVar("T")

Moment = Literal["before", "after"]


class Killed(BaseException):
    """The process died here; nothing that it calls afterwards reaches the operating system."""


@dataclass(frozen=True, slots=True)
class Point:
    """The ``nth`` call (from 0) among those with ``label``."""

    label: str
    nth: int = 0

    def __str__(self) -> str:
        return f"{self.label}[{self.nth}]"


class FaultyOs(Os):
    """The real operating system, except at the points that a test names. Thread-safe."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        """Of every call since the beginning, or since ``clear``, in order."""
        self.full: Collection[str] = ()
        """Labels that answer ENOSPC every time: a filesystem without room."""
        self.dead = False
        self._mutex = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._faults: dict[Point, int] = {}
        self._short: dict[Point, int] = {}
        self._acts: dict[Point, Callable[[], object]] = {}
        self._killed: tuple[Point, Moment] | None = None
        self._on_kill: Callable[[], object] = lambda: None

    def clear(self) -> None:
        """Forget what was recorded and what was to go wrong."""
        self.labels, self.full = [], ()
        self._seen.clear()
        self._faults, self._short, self._killed, self._acts = {}, {}, None, {}

    def fail(self, point: Point, code: int) -> None:
        """Answer one call with an errno; it is not made."""
        self._faults[point] = code

    def write_short(self, point: Point, length: int) -> None:
        """Let one pwrite write ``length`` bytes only, and say so."""
        self._short[point] = length

    def before(self, point: Point, act: Callable[[], object]) -> None:
        """Let something happen before one call, once."""
        self._acts[point] = act

    def kill(self, point: Point, moment: Moment, on_kill: Callable[[], object]) -> None:
        """Die before or after one call; ``on_kill`` sees the directories as they then are."""
        self._killed, self._on_kill = (point, moment), on_kill

    def points(self) -> list[Point]:
        """Every call recorded, in order."""
        seen: Counter[str] = Counter()
        found = []
        for label in self.labels:
            found.append(Point(label, seen[label]))
            seen[label] += 1
        return found

    def call(self, label: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.dead:
            raise Killed
        point = self._record(label)
        self._die_if(point, "before")
        if act := self._acts.pop(point, None):
            act()
        code = self._faults.get(point, errno.ENOSPC if label in self.full else 0)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            result = self._make(point, function, *args, **kwargs)
        except OSError:
            self._die_if(point, "after")
            raise
        self._die_if(point, "after", result if ".open" in label else None)
        return result

    def _make(self, point: Point, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if point not in self._short:
            return function(*args, **kwargs)
        fd, data, offset = args
        assert isinstance(data, bytes | bytearray | memoryview)
        pwrite = cast("Callable[..., T]", function)
        return pwrite(fd, type(data)(data[: self._short[point]]), offset)

    def _record(self, label: str) -> Point:
        with self._mutex:
            point = Point(label, self._seen[label])
            self._seen[label] += 1
            self.labels.append(label)
            return point

    def _die_if(self, point: Point, moment: Moment, opened: object = None) -> None:
        if self._killed == (point, moment):
            self.dead = True
            self._on_kill()
            descriptor = opened[0] if isinstance(opened, tuple) else opened
            if isinstance(descriptor, int):
                os.close(descriptor)  # as the kernel does for the dead
            raise Killed
