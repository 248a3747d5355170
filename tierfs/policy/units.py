"""Readers of numbers with a unit, and comparisons: ``64KiB``, ``85%``, ``200MiB/s``, ``"> 30d"``.

Every reader keeps the spelling rules of `tierfs.common.units`, whose messages say what was meant by
an unclear unit. Sizes are in bytes, durations in nanoseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierfs.common.units import (
    DURATION_UNITS,
    KIB,
    MAX_DURATION,
    MAX_SIZE,
    MIB,
    SECOND,
    SIZE_UNITS,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)
from tierfs.policy.diagnostics import quote
from tierfs.policy.model import Mark
from tierfs.policy.schema import BadValue, pattern_schema, scalar_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.yaml import Node

NO_LIMIT = 2**63 - 1
"""Larger than every size in bytes, duration in nanoseconds, and count."""

LEAST_MARK = MIB
"""The smallest watermark that is a size, in bytes."""

SLOWEST = 64 * KIB
"""The lowest rate, in bytes a second: a head each second."""

# Regular expressions of JSON Schema (ECMA-262) and of Python.
_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?\s{0,8}"
_SIZE = rf"{_NUMBER}(?:{'|'.join(SIZE_UNITS)})?"
_SIZE_WITH_UNIT = rf"{_NUMBER}(?:{'|'.join(SIZE_UNITS)})"
_DURATION = rf"[0-9]{{1,9}}(?:\.[0-9]{{1,9}})?\s{{0,8}}(?:{'|'.join(DURATION_UNITS)})"
_COUNT = "[0-9]{1,9}"
_PERCENT = r"(?!0+(?:\.0+)?\s?%)(?:100(?:\.0{1,3})?|[0-9]{1,2}(?:\.[0-9]{1,3})?)\s?%"
_BYTES_PER_SECOND = rf"{_SIZE}\s?/\s?s"
_PER_SECOND = r"[1-9][0-9]{0,8}\s?/\s?s"
_MICROSECONDS = r"([0-9]{1,5})\s?us"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of number: how it is written, parsed and shown."""

    noun: str
    pattern: str
    """What is written, as a regular expression of JSON Schema (ECMA-262) and of Python."""
    _parse: Callable[[str], int]
    """Raises ValueError with ``message; hint``."""
    example: str

    def parse(self, text: str) -> int:
        """The number in ``text``.

        Raises:
            BadValue: there is none.
        """
        try:
            return self._parse(text)
        except ValueError as exc:
            message, _, hint = str(exc).partition("; ")
            raise BadValue(f"is wrong: {message}", hint) from exc


def _parse_count(text: str) -> int:
    if re.fullmatch(_COUNT, text.strip()):
        return int(text)
    message = f"{quote(text)} is not a count; write a whole number"
    raise ValueError(message)


SIZE = Quantity("a size", _SIZE, parse_size, "4MiB")
DURATION = Quantity("a length of time", _DURATION, parse_duration, "30d")
COUNT = Quantity("a count", _COUNT, _parse_count, "3")


# ------------------------------------------------------------------ comparisons


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


_BOUNDS: dict[str, Callable[[int], tuple[int, int]]] = {
    "<=": lambda limit: (0, limit),
    ">=": lambda limit: (limit, NO_LIMIT),
    "<": lambda limit: (0, limit - 1),
    ">": lambda limit: (limit + 1, NO_LIMIT),
    "=": lambda limit: (limit, limit),
}
"""The numbers that an operator lets pass; those of two characters first, since all are tried."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """``OPERATOR NUMBER``, or ``NUMBER..NUMBER`` with both ends included."""

    quantity: Quantity

    def read(self, node: Node, _diagnostics: Diagnostics) -> Interval:
        """The numbers for which it holds."""
        text = scalar_text(node).strip()
        operator = next((each for each in _BOUNDS if text.startswith(each)), None)
        if operator:
            operand = text.removeprefix(operator).strip()
            low, high = _BOUNDS[operator](self.quantity.parse(operand))
            found = Interval(low, high, f"{operator} {operand}")
        elif ".." in text:
            first, _, last = text.partition("..")
            ends = self.quantity.parse(first.strip()), self.quantity.parse(last.strip())
            found = Interval(*ends, text)
        else:
            raise BadValue(f"must be a comparison, not {quote(text)}", self._hint(text))
        if found.empty:
            raise BadValue(f"can never hold: {quote(text)}", "turn the comparison round")
        return found

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for what can never hold."""
        number = self.quantity.pattern
        return pattern_schema(rf"(?:<=|>=|<|>|=)\s*{number}|{number}\s*\.\.\s*{number}")

    def _hint(self, text: str) -> str:
        try:
            self.quantity.parse(text)
        except BadValue:
            example = self.quantity.example
            return f'write an operator (<, <=, =, >=, >) and {self.quantity.noun}: "<= {example}"'
        return f'write "<= {text}", ">= {text}" or "= {text}"'


# ------------------------------------------------------------------ single numbers


@dataclass(frozen=True, slots=True)
class Size:
    """A size in bytes, between two limits and a whole number of steps."""

    minimum: int
    maximum: int
    step: int

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The size in bytes."""
        text = scalar_text(node)
        size = SIZE.parse(text)
        if not self.minimum <= size <= self.maximum:
            limits = f"{format_size(self.minimum)} to {format_size(self.maximum)}"
            raise BadValue(f"must be {limits}, not {quote(text)}")
        if size % self.step:
            raise BadValue(f"must be a multiple of {format_size(self.step)}, not {quote(text)}")
        return size

    def json_schema(self) -> dict[str, Any]:
        """As `read`; of a text, without the limits."""
        number = {"minimum": self.minimum, "maximum": self.maximum, "multipleOf": self.step}
        return {"anyOf": [{"type": "integer", **number}, pattern_schema(_SIZE)]}


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration from a second to a hundred years, in nanoseconds."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The nanoseconds."""
        text = scalar_text(node)
        duration = DURATION.parse(text)
        if duration < SECOND:
            limits = f"1s to {format_duration(MAX_DURATION)}"
            raise BadValue(f"must be {limits}, not {quote(text)}")
        return duration

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for its limits."""
        return pattern_schema(_DURATION)


@dataclass(frozen=True, slots=True)
class Microseconds:
    """A short time such as ``200us``; 0 is allowed."""

    maximum: int

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The microseconds."""
        text = scalar_text(node).strip()
        match = re.fullmatch(_MICROSECONDS, text)
        if match is None:
            hint = f'write "{text}us"' if text.isdecimal() and text.isascii() else None
            raise BadValue(f"must be a number of microseconds, not {quote(text)}", hint)
        if int(match[1]) > self.maximum:
            raise BadValue(f"must be 0us to {self.maximum}us, not {quote(text)}")
        return int(match[1])

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for its limit."""
        return pattern_schema(_MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Percent:
    """A share such as ``85%``: more than nothing, at most 100%."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> float:
        """The percentage."""
        text = scalar_text(node).strip()
        if not re.fullmatch(_PERCENT, text):
            what = f"must be more than 0% and at most 100%, not {quote(text)}"
            raise BadValue(what, _percent_hint(text))
        return float(text.removesuffix("%"))

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return pattern_schema(_PERCENT)


def _percent_hint(text: str) -> str | None:
    """What was meant by a number without its sign: 85 is 85%, and so is 0.85."""
    if not re.fullmatch(r"[0-9]{0,3}(?:\.[0-9]{1,5})?", text) or not text:
        return None
    number = float(text)
    if number == 0:
        return None
    return f'write "{100 * number:g}%"' if "." in text and number <= 1 else f'write "{text}%"'


@dataclass(frozen=True, slots=True)
class Watermark:
    """A mark such as ``85%`` or ``100GiB``; a number alone could be either."""

    def read(self, node: Node, diagnostics: Diagnostics) -> Mark:
        """The mark."""
        text = scalar_text(node).strip()
        if re.fullmatch(_SIZE_WITH_UNIT, text):
            size = SIZE.parse(text)
            if not LEAST_MARK <= size <= MAX_SIZE:
                limits = f"{format_size(LEAST_MARK)} to {format_size(MAX_SIZE)}"
                raise BadValue(f"must be {limits}, not {quote(text)}")
            return Mark(size=size)
        return Mark(percent=Percent().read(node, diagnostics))

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for the limits of a size."""
        return {"anyOf": [pattern_schema(_PERCENT), pattern_schema(_SIZE_WITH_UNIT)]}


@dataclass(frozen=True, slots=True)
class ByteRate:
    """A rate such as ``200MiB/s``, in bytes a second."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The bytes a second."""
        text = scalar_text(node).strip()
        if not re.fullmatch(_BYTES_PER_SECOND, text):
            raise BadValue(f"must be a rate such as 200MiB/s, not {quote(text)}")
        rate = SIZE.parse(text.partition("/")[0])
        if rate < SLOWEST:
            raise BadValue(f"must be at least {format_size(SLOWEST)}/s, not {quote(text)}")
        return rate

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for the lowest rate."""
        return pattern_schema(_BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class CountRate:
    """A number a second, such as ``500/s``."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The number a second."""
        text = scalar_text(node).strip()
        if not re.fullmatch(_PER_SECOND, text):
            raise BadValue(f"must be a number a second such as 500/s, not {quote(text)}")
        return int(text.partition("/")[0])

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return pattern_schema(_PER_SECOND)
