"""Lengths of time as people write them: ``90s``, ``5min``, ``1h``, ``7d``; kept in nanoseconds.

A bare ``m`` is refused, since it is a minute to some readers and a month to others.
"""

from __future__ import annotations

import re
from fractions import Fraction

SECOND = 10**9
"""Nanoseconds, the unit of every time and length of time inside tierfs."""

DAY = 24 * 60 * 60 * SECOND

UNITS = {
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": DAY,
    "w": 7 * DAY,
    "y": 365 * DAY,
}
"""Nanoseconds in each unit that `parse_duration` reads, smallest first; a year has 365 days."""

MAX_DURATION = 100 * UNITS["y"]

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) {0,8}([A-Za-z]{1,12})")
_WORDS = {
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
    "w": ("wk", "week", "weeks"),
    "y": ("yr", "year", "years"),
}
_LONGEST = 60
_LONGEST_SHOWN = 40


def parse_duration(text: str) -> int:
    """The nanoseconds that ``text`` names.

    Raises:
        ValueError: no such length of time; the message, ``what; hint``, is for its writer.
    """
    written = text.strip()
    match = _DURATION.fullmatch(written) if len(written) <= _LONGEST else None
    if match is None:
        message = f"{_shown(text)} is not a length of time; write a number and a unit, such as 7d"
        raise ValueError(message)
    number, unit = match.groups()
    duration = Fraction(number) * _nanoseconds_in(unit, number)
    if duration > MAX_DURATION:
        message = f'"{match.group()}" is too long; write 100y or less'
        raise ValueError(message)
    return int(duration)


def format_duration(duration: int) -> str:
    """``duration`` nanoseconds in a few characters: three significant digits of the best unit."""
    size = abs(duration)
    fitting = [(name, width) for name, width in UNITS.items() if width <= size and name != "w"]
    name, width = fitting[-1] if fitting else ("s", SECOND)
    # Below a hundredth of a second there is nothing that a person would want to know.
    return f"{'-' if duration < 0 else ''}{round(size / width, 2):.3g}{name}"


def _nanoseconds_in(unit: str, number: str) -> int:
    if unit in UNITS:
        return UNITS[unit]
    folded = unit.lower()
    meant = next((known for known, words in _WORDS.items() if folded in (known, *words)), None)
    if meant:
        message = f'"{unit}" is not a unit of time; write {number}{meant}'
    elif folded == "m":
        message = f'"{unit}" is not clear; write {number}min for minutes, or count months in days'
    else:
        message = f'"{unit}" is not a unit of time; use one of {", ".join(UNITS)}'
    raise ValueError(message)


def _shown(text: str) -> str:
    short = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in short) + '"'
