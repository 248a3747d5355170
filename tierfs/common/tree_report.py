"""A tree that is adopted or exported: its names, and what became of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

SHOWN: Final = 10
"""Problems that are listed; the others are counted."""


class Step(NamedTuple):
    """Names of a directory that are to be adopted, except for directories in it."""

    path: bytes
    """Of the directory, from the tree on; empty: the tree itself."""
    files: Sequence[bytes]
    """Regular files, when the directory was read."""
    others: Sequence[bytes]


@dataclass(slots=True)
class Report:
    """What was done so far. Threads add to it; a reader sees the figures of a moment."""

    linked: int = 0
    """Files that have one more name, or another one, and the bytes that they had."""
    shared: int = 0
    """Files that share blocks with what they were copied from (reflinks)."""
    copied: int = 0
    """Files whose bytes were copied."""
    copied_bytes: int = 0
    """That they have, without holes."""
    present: int = 0
    """Files that an earlier run had brought."""
    links: int = 0
    """Further names of a file of the tree."""
    others: int = 0
    """Symbolic links, FIFOs, sockets, devices; for adopt also empty files."""
    directories: int = 0
    excluded: int = 0
    errors: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    """The first that were left out, or lost something: a path below the tree, and the reason."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def done(self) -> int:
        """Names that are in their place now, but for directories."""
        return sum(
            (self.linked, self.shared, self.copied, self.present, self.links, self.others),
        )

    def count(self, **numbers: int) -> None:
        """Count."""
        with self._lock:
            for name, number in numbers.items():
                setattr(self, name, getattr(self, name) + number)

    def fail(self, path: bytes, reason: str) -> None:
        """Count an error and keep it if it is one of the first."""
        with self._lock:
            self.errors += 1
            if len(self.problems) < SHOWN:
                self.problems.append((path, reason))

    def add(self, other: Report) -> None:
        """Count all of another report as well."""
        self.count(**{name: getattr(other, name) for name in NUMBERS})
        self.problems += other.problems[: SHOWN - len(self.problems)]

    def record(self) -> dict[str, Any]:
        """The figures for JSON; paths as ``os.fsdecode`` makes them."""
        problems = [{"path": os.fsdecode(path), "reason": why} for path, why in self.problems]
        return {**{name: getattr(self, name) for name in NUMBERS}, "problems": problems}

    @staticmethod
    def of_record(record: dict[str, Any]) -> Report:
        """The report that ``record`` was made of."""
        problems = [(os.fsencode(each["path"]), each["reason"]) for each in record["problems"]]
        return Report(**{name: record[name] for name in NUMBERS}, problems=problems)


NUMBERS: Final = tuple(each.name for each in fields(Report) if each.type == "int")

Watch = Callable[[Report], object]
"""Called now and then with the figures so far."""


def unwatched(_report: Report) -> None:
    """Nobody looks."""
