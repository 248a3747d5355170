"""Sizes and durations as people write them: ``64KiB``, ``1.5 GiB``, ``500GB``; ``90s``, ``7d``.

A size is kept in bytes, a duration in nanoseconds. Spellings that readers take for one thing or
another are refused, and the message offers what can be written instead: ``64K`` and ``64KB``, since
binary units follow IEC 80000-13 (KiB = 1024 bytes) and decimal ones the SI (kB = 1000 bytes), and a
bare ``m``, which is a minute to some and a month to others.
"""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
PIB = 1024 * TIB

BINARY_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB, "PiB": PIB}
"""Bytes in each unit that `format_size` writes, smallest first."""

DECIMAL_UNITS = {"kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4, "PB": 1000**5}

SIZE_UNITS = BINARY_UNITS | DECIMAL_UNITS
"""Bytes in each unit that `parse_size` reads."""

MAX_SIZE = 2**63 - 1
"""The largest file offset of Linux (a signed 64-bit ``off_t``), in bytes."""

# Twenty digits hold more than MAX_SIZE; a bound keeps int() away from absurdly long input.
_SIZE = r"([0-9]{1,20}(?:\.[0-9]{1,20})?) {0,8}([A-Za-z]{0,8})"
_EXACT_CHARACTERS = 5
_DIGITS = 3
_LONGEST_SHOWN = 40

SECOND = 10**9
"""Nanoseconds, the unit of every time and length of time inside tierfs."""

DAY = 24 * 60 * 60 * SECOND

DURATION_UNITS = {
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3600 * SECOND,
    "d": DAY,
    "w": 7 * DAY,
    "y": 365 * DAY,
}
"""Nanoseconds in each unit that `parse_duration` reads, smallest first; a year has 365 days."""

MAX_DURATION = 100 * DURATION_UNITS["y"]

_DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) {0,8}([A-Za-z]{1,12})"
_WORDS = {
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
    "w": ("wk", "week", "weeks"),
    "y": ("yr", "year", "years"),
}
_LONGEST_DURATION = 60


def parse_size(text: str | int) -> int:
    """The bytes that ``text`` names; a bare number is bytes.

    Raises:
        ValueError: no such size; the message is meant for the person who wrote it.
    """
    match = re.fullmatch(_SIZE, str(text).strip())
    if match is None:
        message = f"{_shown(str(text))} is not a size; write a number and a unit, such as 64KiB"
        raise ValueError(message)
    number, unit = match.groups()
    size, rest = _times(number, _bytes_in(unit or "B", number))
    shown = _shown(match.group())
    if rest:
        message = f"{shown} is not a whole number of bytes; write it in a smaller unit"
        raise ValueError(message)
    if size > MAX_SIZE:
        message = f"{shown} is larger than any file can be; the limit is 8191PiB"
        raise ValueError(message)
    return size


def format_size(size: int) -> str:
    """``size`` bytes in a few characters: exact where that is short, else three significant digits.

    Raises:
        ValueError: ``size`` is negative.
    """
    if size < 0:
        message = f"a size cannot be negative: {size}"
        raise ValueError(message)
    exact = [(number, unit) for unit in BINARY_UNITS if (number := _exactly(size, unit))]
    # The units run upwards, so that of two equally short numbers the larger unit is taken.
    number, unit = min(reversed(exact), key=lambda found: len(found[0]), default=("", ""))
    return number + unit or _roughly(size)


def _bytes_in(unit: str, number: str) -> int:
    if unit in SIZE_UNITS:
        return SIZE_UNITS[unit]
    meant = [
        known
        for known in SIZE_UNITS
        if unit.upper() in {known.upper(), known[0].upper(), f"{known[0].upper()}B"}
    ]
    if meant:
        choice = " or ".join(f"{number}{known} ({SIZE_UNITS[known]} bytes each)" for known in meant)
        message = f'"{unit}" is not clear; write {choice}'
    else:
        message = f'"{unit}" is not a unit of size; use one of {", ".join(SIZE_UNITS)}'
    raise ValueError(message)


def _times(number: str, unit: int) -> tuple[int, int]:
    """The product of a decimal number and a unit: the whole of it, and 0 if nothing is left."""
    whole, _, decimals = number.partition(".")
    parts: int = 10 ** len(decimals)
    return divmod(int(whole + decimals) * unit, parts)


def _exactly(size: int, unit: str) -> str | None:
    """How many ``unit`` make ``size``, with at most two decimals, if that is exact and short."""
    width = BINARY_UNITS[unit]
    hundredths, rest = divmod(size * 100, width)
    if rest or (size < width and unit != "B"):
        return None
    number = f"{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".")
    return number if len(number) < _EXACT_CHARACTERS else None


def _roughly(size: int) -> str:
    unit = [name for name, width in BINARY_UNITS.items() if width <= size][-1]
    value = size / BINARY_UNITS[unit]
    decimals = max(0, _DIGITS - len(f"{value:.0f}"))
    return f"{value:.{decimals}f}{unit}"


def parse_duration(text: str) -> int:
    """The nanoseconds that ``text`` names.

    Raises:
        ValueError: no such length of time; the message, ``what; hint``, is for its writer.
    """
    written = text.strip()
    match = re.fullmatch(_DURATION, written) if len(written) <= _LONGEST_DURATION else None
    if match is None:
        message = f"{_shown(text)} is not a length of time; write a number and a unit, such as 7d"
        raise ValueError(message)
    number, unit = match.groups()
    duration, _ = _times(number, _nanoseconds_in(unit, number))
    if duration > MAX_DURATION:
        message = f'"{match.group()}" is too long; write 100y or less'
        raise ValueError(message)
    return duration


def format_duration(duration: int) -> str:
    """``duration`` nanoseconds in a few characters: three significant digits of the best unit."""
    size = abs(duration)
    fitting = [
        (name, width) for name, width in DURATION_UNITS.items() if width <= size and name != "w"
    ]
    name, width = fitting[-1] if fitting else ("s", SECOND)
    # Below a hundredth of a second there is nothing that a person would want to know.
    return f"{'-' if duration < 0 else ''}{round(size / width, 2):.3g}{name}"


def _nanoseconds_in(unit: str, number: str) -> int:
    if unit in DURATION_UNITS:
        return DURATION_UNITS[unit]
    folded = unit.lower()
    meant = next((known for known, words in _WORDS.items() if folded in (known, *words)), None)
    if meant:
        message = f'"{unit}" is not a unit of time; write {number}{meant}'
    elif folded == "m":
        message = f'"{unit}" is not clear; write {number}min for minutes, or count months in days'
    else:
        message = f'"{unit}" is not a unit of time; use one of {", ".join(DURATION_UNITS)}'
    raise ValueError(message)


def _shown(text: str) -> str:
    short = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in short) + '"'
