"""What became of the files: counts, and the first few problems by name."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tierfs.prewarm.caches import Span

SHOWN: Final = 10
"""Problems that are listed; the others are counted."""


class State(NamedTuple):
    """One file: whether its name was in memory, and how much of its head and its tail is."""

    name_cached: bool
    head: Span
    tail: Span


class Problem(NamedTuple):
    """What went wrong with one path."""

    path: bytes
    reason: str


@dataclass(slots=True)
class PartCounts:
    """Files that have something, and those of them of which all is warm; bytes likewise."""

    files: int = 0
    warm_files: int = 0
    bytes: int = 0
    warm_bytes: int = 0

    @property
    def is_warm(self) -> bool:
        """Whether nothing is missing."""
        return self.files == self.warm_files

    def add(self, span: Span) -> None:
        """Count one file, unless it has nothing of this."""
        if span.length:
            self.files += 1
            self.warm_files += span.is_warm
            self.bytes += span.length
            self.warm_bytes += span.warm


@dataclass(slots=True)
class Counts:
    """The figures so far. Threads add to them; a reader sees those of a moment."""

    found: int = 0
    """Files met; they are looked at afterwards."""
    directories: int = 0
    files: int = 0
    warm_names: int = 0
    head: PartCounts = field(default_factory=PartCounts)
    tail: PartCounts = field(default_factory=PartCounts)
    skipped: Counter[str] = field(default_factory=Counter)
    """What was left alone, by kind: ``symbolic links`` and so on."""
    errors: int = 0
    foreign: int = 0
    """How many of the errors are that a file is in no tierfs mount."""
    problems: list[Problem] = field(default_factory=list)
    """The first ``SHOWN`` errors."""
    interrupted: bool = False
    _mutex: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, state: State) -> None:
        """Count a file that was looked at."""
        with self._mutex:
            self.files += 1
            self.warm_names += state.name_cached
            self.head.add(state.head)
            self.tail.add(state.tail)

    def skip(self, kind: str) -> None:
        """Count something that is left alone."""
        with self._mutex:
            self.skipped[kind] += 1

    def fail(self, path: bytes, reason: str) -> None:
        """Count an error."""
        with self._mutex:
            self.errors += 1
            if len(self.problems) < SHOWN:
                self.problems.append(Problem(path, reason))

    def refuse(self, path: bytes) -> None:
        """Count a file that was given by name and is in no tierfs mount."""
        with self._mutex:
            self.foreign += 1
        self.fail(path, "is not in a tierfs mount")

    def is_warm(self, *, tails: bool) -> bool:
        """Whether every file was looked at and all of it is in memory; tails only if asked for."""
        return (
            not self.errors
            and not self.interrupted
            and self.warm_names == self.files
            and self.head.is_warm
            and (self.tail.is_warm or not tails)
        )
