"""Mistakes in a YAML file, each with its position and a hint, reported in one error."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from tierfs.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_SHOWN = 100
"""Diagnostics listed for one file; more are only counted."""

_LONGEST_QUOTE = 60
_MOST_COMPARED = 1000
"""Known words that a misspelt one is compared with: a file may define thousands."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where something starts in a file; both numbers count from 1, as editors do."""

    line: int
    column: int


START = Position(1, 1)
"""The position of what concerns the whole file."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: where it is, what it is, and how to put it right."""

    position: Position
    message: str
    hint: str


@dataclass(slots=True)
class Diagnostics:
    """The mistakes found in one file so far."""

    path: Path
    found: list[Diagnostic] = field(default_factory=list)

    def add(self, position: Position, message: str, hint: str) -> None:
        """Note one mistake and carry on."""
        self.found.append(Diagnostic(position, message, hint))

    @property
    def too_many(self) -> bool:
        """Whether more are noted than are listed, so that costly hints can be left out."""
        return len(self.found) > MAX_SHOWN

    def raise_if_any(self) -> None:
        """Report every mistake noted.

        Raises:
            ConfigError: there are some.
        """
        if self.found:
            raise self.error()

    def error(self) -> ConfigError:
        """The error that reports every mistake noted, in the order of the file."""
        ordered = sorted(dict.fromkeys(self.found), key=lambda one: one.position)
        lines = [
            f"{self.path}:{one.position.line}:{one.position.column}: {one.message}; {one.hint}"
            for one in ordered[:MAX_SHOWN]
        ]
        if len(ordered) > MAX_SHOWN:
            lines.append(f"{self.path}: and {len(ordered) - MAX_SHOWN} more; mend these first")
        return ConfigError.of_lines(lines)


def quote(text: str) -> str:
    """``text`` as a message shows it: in quotes, on one line, shortened when long."""
    short = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."
    return '"' + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short) + '"'


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` is probably a misspelling of, whatever its case."""
    by_folded = {name.casefold(): name for name in islice(known, _MOST_COMPARED)}
    # difflib takes quadratic time at worst: both limits keep it cheap for junk.
    close = difflib.get_close_matches(word.casefold()[:_LONGEST_QUOTE], by_folded, n=1)
    return by_folded[close[0]] if close else None
