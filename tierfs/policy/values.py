"""Readers of the tier policy's values; each also says what it accepts as JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tierfs.base.durations import MAX_DURATION, SECOND, format_duration
from tierfs.base.units import KIB, format_size
from tierfs.policy.document import Listing, Scalar
from tierfs.policy.fields import BadValue, read_value
from tierfs.policy.problems import did_you_mean, quote
from tierfs.policy.quantities import DURATION, SIZE, parsed
from tierfs.policy.readers import SIZE_PATTERN, one_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

WORD_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_PERCENT = r"(?!0+(?:\.0+)?\s?%)(?:100(?:\.0{1,3})?|[0-9]{1,2}(?:\.[0-9]{1,3})?)\s?%"
_RATE = rf"{SIZE_PATTERN}\s?/\s?s"
_PER_SECOND = r"[1-9][0-9]{0,8}\s?/\s?s"
SLOWEST = 64 * KIB
"""The lowest rate, in bytes a second: a head each second."""


class Described(Protocol[T_co]):
    """A reader that can say what it accepts."""

    def read(self, value: Value, problems: Problems) -> T_co:
        """The meaning of ``value``; raises BadValue when it has none."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what it accepts."""


def written(pattern: str) -> dict[str, Any]:
    """The JSON Schema of a text, with blanks around it."""
    return {"type": "string", "pattern": rf"^\s*(?:{pattern})\s*$"}


def word(value: Value, noun: str) -> str:
    """A text that YAML takes for nothing else, such as a number or ``yes``.

    Raises:
        BadValue: it is not.
    """
    text = one_text(value)
    if isinstance(value, Scalar) and value.kind != "str":
        what = f"must be {noun}, but YAML reads {quote(text)} as {value.kind}"
        raise BadValue(what, "put the value in quotes")
    return text


@dataclass(frozen=True, slots=True)
class Word:
    """A name: letters, digits, ``.``, ``_`` and ``-``."""

    def read(self, value: Value, _problems: Problems) -> str:
        """The name."""
        text = word(value, "a name").strip()
        if not re.fullmatch(WORD_PATTERN, text):
            hint = "use up to 64 letters, digits, dots, hyphens and underscores"
            raise BadValue(f"cannot be {quote(text)}", hint)
        return text

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return written(WORD_PATTERN)


@dataclass(frozen=True, slots=True)
class Flag:
    """``true`` or ``false``; YAML 1.1's other words for them are read as text by some programs."""

    def read(self, value: Value, _problems: Problems) -> bool:
        """Whether it is true."""
        text = one_text(value)
        known = isinstance(value, Scalar) and value.kind == "bool"
        if not known or text.lower() not in {"true", "false"}:
            raise BadValue(f"must be true or false, not {quote(text)}")
        return text.lower() == "true"

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number of 1 or more."""

    maximum: int

    def read(self, value: Value, _problems: Problems) -> int:
        """The number."""
        text = one_text(value)
        number = isinstance(value, Scalar) and value.kind == "int"
        if not number or not re.fullmatch("[1-9][0-9]{0,8}", text) or int(text) > self.maximum:
            raise BadValue(f"must be a whole number from 1 to {self.maximum}, not {quote(text)}")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "integer", "minimum": 1, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time from a second to a hundred years, in nanoseconds."""

    def read(self, value: Value, _problems: Problems) -> int:
        """The nanoseconds."""
        text = one_text(value)
        duration = parsed(DURATION, text)
        if duration < SECOND:
            limits = f"1s to {format_duration(MAX_DURATION)}"
            raise BadValue(f"must be {limits}, not {quote(text)}")
        return duration

    def schema(self) -> dict[str, Any]:
        """As `read`, but for its limits."""
        return written(DURATION.pattern)


@dataclass(frozen=True, slots=True)
class Percent:
    """A share such as ``85%``: more than nothing, at most 100%."""

    def read(self, value: Value, _problems: Problems) -> float:
        """The percentage."""
        text = one_text(value).strip()
        if not re.fullmatch(_PERCENT, text):
            number = re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,3})?", text)
            hint = f'write "{text}%"' if number else None
            raise BadValue(f"must be more than 0% and at most 100%, not {quote(text)}", hint)
        return float(text.removesuffix("%"))

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return written(_PERCENT)


@dataclass(frozen=True, slots=True)
class ByteRate:
    """A rate such as ``200MiB/s``, in bytes a second."""

    def read(self, value: Value, _problems: Problems) -> int:
        """The bytes a second."""
        text = one_text(value).strip()
        size, slash, unit = text.partition("/")
        if not slash or unit.strip() != "s" or not re.fullmatch(_RATE, text):
            raise BadValue(f"must be a rate such as 200MiB/s, not {quote(text)}")
        rate = parsed(SIZE, size)
        if rate < SLOWEST:
            raise BadValue(f"must be at least {format_size(SLOWEST)}/s, not {quote(text)}")
        return rate

    def schema(self) -> dict[str, Any]:
        """As `read`, but for the lowest rate."""
        return written(_RATE)


@dataclass(frozen=True, slots=True)
class CountRate:
    """A number a second, such as ``500/s``."""

    def read(self, value: Value, _problems: Problems) -> int:
        """The number a second."""
        text = one_text(value).strip()
        if not re.fullmatch(_PER_SECOND, text):
            raise BadValue(f"must be a number a second such as 500/s, not {quote(text)}")
        return int(text.partition("/")[0])

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return written(_PER_SECOND)


@dataclass(frozen=True, slots=True)
class WordOr(Generic[T]):
    """One of a few words, or what another reader reads."""

    words: Mapping[str, T] = field(hash=False)
    other: Described[T]

    def read(self, value: Value, problems: Problems) -> T:
        """The meaning of the word, or of the other."""
        text = value.text if isinstance(value, Scalar) else None
        if text is not None and text in self.words:
            return self.words[text]
        try:
            return self.other.read(value, problems)
        except BadValue as exc:
            meant = did_you_mean(text, self.words) if text else None
            also = " or ".join(f'"{known}"' for known in self.words)
            hint = f'did you mean "{meant}"?' if meant else exc.hint
            raise BadValue(exc.what, hint or f"or write {also}") from exc

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"anyOf": [{"enum": list(self.words)}, self.other.schema()]}


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list; ``label`` is how messages call one of its items."""

    item: Described[T]
    label: str
    minimum: int = 0

    def read(self, value: Value, problems: Problems) -> tuple[T, ...]:
        """What the items mean; what is wrong with one goes to ``problems`` with its own place."""
        if not isinstance(value, Listing):
            raise BadValue("must be a list")
        if len(value.items) < self.minimum:
            raise BadValue("is an empty list", "put something into it, or remove the key")
        return tuple(self._items(value, problems))

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.minimum}

    def _items(self, value: Listing, problems: Problems) -> list[T]:
        found = []
        for item in value.items:
            try:
                found.append(read_value(self.item, item, problems))
            except BadValue as exc:
                hint = exc.hint or f"see {self.label} in the output of: tierfs policy schema"
                problems.add(item.place, f"{self.label} {exc.what}", hint)
        return found


@dataclass(frozen=True, slots=True)
class OneOrMore(Generic[T]):
    """A value, or a list of such values."""

    item: Described[T]
    label: str

    def read(self, value: Value, problems: Problems) -> tuple[T, ...]:
        """What they mean."""
        if isinstance(value, Listing):
            return ListOf(self.item, self.label, 1).read(value, problems)
        return (self.item.read(value, problems),)

    def schema(self) -> dict[str, Any]:
        """As `read`."""
        item = self.item.schema()
        return {"anyOf": [item, ListOf(self.item, self.label, 1).schema()]}
