"""Numbers with units, and comparisons with them: ``"<= 4MiB"``, ``"> 30d"``, ``"1MiB..4MiB"``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierfs.base.durations import UNITS as TIME_UNITS
from tierfs.base.durations import format_duration, parse_duration
from tierfs.base.units import format_size, parse_size
from tierfs.policy.fields import BadValue
from tierfs.policy.problems import quote
from tierfs.policy.readers import SIZE_PATTERN, one_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

NO_LIMIT = 2**63 - 1
"""Larger than every size in bytes, length of time in nanoseconds, and count."""

DURATION_PATTERN = rf"[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?\s{{0,8}}(?:{'|'.join(TIME_UNITS)})"
COUNT_PATTERN = "[0-9]{1,9}"

_SIGNS = ("<=", ">=", "<", ">", "=")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of number: how it is written, read and shown."""

    noun: str
    pattern: str
    """What is written, as a regular expression of JSON Schema (ECMA-262) and of Python."""
    parse: Callable[[str], int]
    """Raises ValueError with ``what; hint``."""
    show: Callable[[int], str]
    example: str


def _parse_count(text: str) -> int:
    written = text.strip()
    if re.fullmatch(COUNT_PATTERN, written):
        return int(written)
    message = f"{quote(text)} is not a count; write a whole number"
    raise ValueError(message)


SIZE = Quantity("a size", SIZE_PATTERN, parse_size, format_size, "4MiB")
DURATION = Quantity("a length of time", DURATION_PATTERN, parse_duration, format_duration, "30d")
COUNT = Quantity("a count", COUNT_PATTERN, _parse_count, "{:,}".format, "3")


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers from ``low`` to ``high``, both included; ``text`` is how people write it."""

    low: int
    high: int
    text: str

    @property
    def everything(self) -> bool:
        """Whether no number is outside."""
        return self.low <= 0 and self.high >= NO_LIMIT

    @property
    def empty(self) -> bool:
        """Whether no number is inside."""
        return self.low > self.high or self.low > NO_LIMIT

    def both(self, other: Interval) -> Interval:
        """The numbers that are in this one and in ``other``."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(low, high, f"{self.text} and {other.text}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """``OPERATOR NUMBER``, or ``NUMBER..NUMBER`` with both ends included."""

    quantity: Quantity

    def read(self, value: Value, _problems: Problems) -> Interval:
        """The numbers for which it holds."""
        text = one_text(value).strip()
        sign = next((sign for sign in _SIGNS if text.startswith(sign)), None)
        if sign:
            operand = text.removeprefix(sign).strip()
            found = Interval(*_bounds(sign, self._number(operand)), f"{sign} {operand}")
        elif ".." in text:
            first, _, last = text.partition("..")
            found = Interval(self._number(first.strip()), self._number(last.strip()), text)
        else:
            raise BadValue(f"must be a comparison, not {quote(text)}", self._hint(text))
        if found.empty:
            raise BadValue(f"can never hold: {quote(text)}", "turn the comparison round")
        return found

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the text."""
        number = self.quantity.pattern
        core = rf"(?:<=|>=|<|>|=)\s*{number}|{number}\s*\.\.\s*{number}"
        return {"type": "string", "pattern": rf"^\s*(?:{core})\s*$"}

    def _number(self, text: str) -> int:
        return parsed(self.quantity, text)

    def _hint(self, text: str) -> str:
        try:
            self.quantity.parse(text)
        except ValueError:
            example = self.quantity.example
            return f'write an operator (<, <=, =, >=, >) and {self.quantity.noun}: "<= {example}"'
        return f'write "<= {text}", ">= {text}" or "= {text}"'


def parsed(quantity: Quantity, text: str) -> int:
    """The number in ``text``.

    Raises:
        BadValue: there is none.
    """
    try:
        return quantity.parse(text)
    except ValueError as exc:
        what, _, hint = str(exc).partition("; ")
        raise BadValue(f"is wrong: {what}", hint) from exc


def _bounds(sign: str, limit: int) -> tuple[int, int]:
    return {
        "<": (0, limit - 1),
        "<=": (0, limit),
        "=": (limit, limit),
        ">=": (limit, NO_LIMIT),
        ">": (limit + 1, NO_LIMIT),
    }[sign]
