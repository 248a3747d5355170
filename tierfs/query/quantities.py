"""How the values of a test are written: numbers with a unit, times, words, accounts, patterns.

A number stands for an interval: a day is all of its moments, and ``1MiB..4MiB`` has both ends.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from importlib import import_module
from typing import Final, NamedTuple

from tierfs.common.units import SECOND, parse_duration, parse_size
from tierfs.policy.glob import BadGlob, Glob, path_glob, text_glob

LARGEST: Final = 2**63 - 1
"""The largest number of SQLite."""


class Interval(NamedTuple):
    """The numbers from ``low`` to ``high``, both included."""

    low: float
    high: float


class BadText(ValueError):
    """A value that is none; ``hint`` says what to write."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class Quantity(NamedTuple):
    """A kind of number: what it is called, how it is written, and how it is read."""

    noun: str
    written: str
    """For the reference."""
    parse: Callable[[str], Interval]
    """Raises ValueError with ``message; hint``."""

    def read(self, text: str) -> Interval:
        """The interval that a value stands for.

        Raises:
            BadText: it is none.
        """
        first, dots, last = text.partition("..")
        try:
            if not dots:
                return self.parse(text)
            low, high = self.parse(first), self.parse(last)
        except ValueError as exc:
            message, _, hint = str(exc).partition("; ")
            raise BadText(message, hint) from exc
        if low.low > high.high:
            raise BadText(f'"{text}" is the wrong way round', f'write "{last}..{first}"')
        return Interval(low.low, high.high)


def _exactly(parse: Callable[[str], float]) -> Callable[[str], Interval]:
    def parsed(text: str) -> Interval:
        number = parse(text)
        return Interval(number, number)

    return parsed


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > LARGEST:
        message = f'"{text}" is not a whole number; write digits alone'
        raise ValueError(message)
    return int(text)


def number_of(text: str) -> float | int | None:
    """The number that a text is; None: it is none."""
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", text):
        return float(text)
    return None


def _number(text: str) -> float:
    number = number_of(text)
    if number is None:
        message = f'"{text}" is not a number; write it such as 2048 or 0.5'
        raise ValueError(message)
    return number


def _octal(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{1,4}", text):
        message = f'"{text}" is not a mode; write it in octal, such as 0644'
        raise ValueError(message)
    return int(text, 8)


_DATES: Final = (
    ("%Y", None),
    ("%Y-%m", None),
    ("%Y-%m-%d", timedelta(days=1)),
    ("%Y-%m-%dT%H:%M", timedelta(minutes=1)),
    ("%Y-%m-%dT%H:%M:%S", timedelta(seconds=1)),
)


def _time(text: str) -> Interval:
    """A moment in the machine's time zone: all of the year, month, day, minute or second."""
    for form, length in _DATES:
        try:
            began = datetime.strptime(text, form)  # noqa: DTZ007 - the local zone, as for find(1)
        except ValueError:
            continue
        if length is not None:
            ended = began + length
        elif form == "%Y":
            ended = began.replace(year=began.year + 1)
        else:
            ended = (began + timedelta(days=31)).replace(day=1)
        low, high = (int(one.timestamp()) * SECOND for one in (began, ended))
        return Interval(low, high - 1)
    message = f'"{text}" is not a time; write it such as 2026-07-01 or 2026-07-01T12:00'
    raise ValueError(message)


SIZE: Final = Quantity("a size", "a number with a unit, `64KiB`, `1.5GB`", _exactly(parse_size))
COUNT: Final = Quantity("a count", "a whole number", _exactly(_count))
NUMBER: Final = Quantity("a number", "a number, `2048`, `0.5`", _exactly(_number))
DURATION: Final = Quantity(
    "a length of time", "a number with a unit, `90s`, `7d`", _exactly(parse_duration)
)
TIME: Final = Quantity(
    "a time", "`2026`, `2026-07`, `2026-07-01` or `2026-07-01T12:00[:30]`, local time", _time
)
MODE: Final = Quantity("a mode", "octal digits, `0644`", _exactly(_octal))


def pattern(text: str, *, of_paths: bool = False) -> Glob:
    """The pattern that a value is, of a path or of any other text.

    Raises:
        BadText: it is none.
    """
    try:
        return path_glob(text) if of_paths else text_glob(text)
    except BadGlob as exc:
        raise BadText(f'"{text}" {exc}', exc.hint) from exc


def is_pattern(text: str) -> bool:
    """Whether a text matches more than itself."""
    return re.search(r"[*?\[\]{}\\]", text) is not None


def account(text: str, *, group: bool) -> int:
    """The number of a user or a group, by name or number.

    Raises:
        BadText: the machine knows none of this name.
    """
    if re.fullmatch(r"[0-9]{1,10}", text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid if group else pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        kind = "group" if group else "user"
        raise BadText(f'there is no {kind} "{text}"', "write a name or a number") from None


def choice(text: str, words: Iterable[str]) -> str:
    """One of some words.

    Raises:
        BadText: it is none of them.
    """
    known = list(words)
    if text in known:
        return text
    raise BadText(f'"{text}" is none of {", ".join(known)}', meant(text, known))


def meant(text: str, known: Iterable[str]) -> str:
    """The hint for a word that is nearly one of those known; empty: it is near to none."""
    # Only for a message: it is not loaded for each command.
    close = import_module("difflib").get_close_matches(text, list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else ""
