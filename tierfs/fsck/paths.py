"""From an inode back to a path, whatever is wrong on the way."""

from __future__ import annotations

from functools import lru_cache

from tierfs.index.inodes import ROOT
from tierfs.index.inspection import Inspection, Names, Step

REMEMBERED = 4096
"""Paths of directories kept."""

NOWHERE = b"(unreachable)"


class Paths:
    """Paths from the root of the volume, as bytes."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._directory = lru_cache(REMEMBERED)(self._find)

    def of(self, ino: int, names: Names | None) -> bytes:
        """A path of an inode; empty when it has no name."""
        if ino == ROOT:
            return b"/"
        return b"" if names is None else self.at(Step(names.parent, names.name))

    def at(self, step: Step) -> bytes:
        """The path of an entry."""
        return self._directory(step.parent) + b"/" + step.name

    def loop(self, directory: int) -> frozenset[int]:
        """The directories of the loop that the way up from this one ends in, if it does."""
        steps, again = self._way_up(directory)
        numbers = [ino for ino, _ in steps]
        return frozenset(numbers[numbers.index(again) :]) if again in numbers else frozenset()

    def _find(self, directory: int) -> bytes:
        steps, end = self._way_up(directory)
        names = [step.name for _, step in reversed(steps)]
        top = b"" if end == ROOT else NOWHERE
        return b"/".join([top, *names])

    def _way_up(self, directory: int) -> tuple[list[tuple[int, Step]], int]:
        """Each directory with its name, upwards; and the one at which there is no going on."""
        steps: dict[int, Step] = {}
        while directory not in steps and directory != ROOT:
            step = self._inspection.step_to(directory)
            if step is None:
                break
            steps[directory] = step
            directory = step.parent
        return list(steps.items()), directory
