"""The condition on header facts, such as the width of an image: ``fact: {image.width: ">= 2048"}``.

A fact that is not known is neither this nor that: the condition is open, and so is its negation.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tierfs.policy.diagnostics import quote
from tierfs.policy.glob import MAX_LENGTH, BadGlob, Glob, text_glob
from tierfs.policy.match import Condition
from tierfs.policy.schema import BadValue, Field, read_node, scalar_text
from tierfs.policy.values import OneOrMore
from tierfs.policy.yaml import Mapping

if TYPE_CHECKING:
    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.match import Facts
    from tierfs.policy.yaml import Node

_NUMBER: Final = r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?"
_COMPARED: Final = re.compile(rf"(<=|>=|<|>|=)\s*({_NUMBER})")
_RANGE: Final = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})")
_KEY: Final = r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+){0,8}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers from ``low`` to ``high``; ``open_`` where these two are outside."""

    low: float
    high: float
    open_: bool
    text: str

    def matches(self, value: float | str) -> bool:
        """Whether a value is one of them; a text is none."""
        if isinstance(value, str):
            return False
        return self.low < value < self.high if self.open_ else self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Text:
    """The values that fit a pattern, as they are written."""

    glob: Glob

    @property
    def text(self) -> str:
        """As it is written."""
        return quote(self.glob.text)

    def matches(self, value: float | str) -> bool:
        """Whether a value fits."""
        return self.glob.matches(str(value))


Wanted: TypeAlias = Numbers | Text


@dataclass(frozen=True, slots=True)
class FactFits(Condition):
    """A header fact is one of some values."""

    name: str
    values: tuple[Wanted, ...]
    cost: int = 5

    @property
    def key(self) -> str:
        """With the fact's name."""
        return f"fact {self.name}"

    def test(self, facts: Facts) -> bool | None:
        """As `Condition`."""
        value = facts.header_fact(self.name)
        return None if value is None else any(each.matches(value) for each in self.values)

    def wanted(self) -> str:
        """As `Condition`."""
        return " or ".join(each.text for each in self.values)

    def found(self, facts: Facts) -> str:
        """As `Condition`."""
        value = facts.header_fact(self.name)
        if value is None:
            return "unknown"
        return quote(value) if isinstance(value, str) else f"{value}"


@dataclass(frozen=True, slots=True)
class WantedReader:
    """A comparison with a number, or a pattern."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Wanted:
        """What passes."""
        text = scalar_text(node).strip()
        if compared := _COMPARED.fullmatch(text):
            return _numbers(compared[1], float(compared[2]), text)
        if between := _RANGE.fullmatch(text):
            low, high = float(between[1]), float(between[2])
            if low > high:
                raise BadValue(f"can never hold: {quote(text)}", "turn the comparison round")
            return Numbers(low, high, open_=False, text=text)
        if text.startswith(("<", ">", "=")):
            raise BadValue(f"is no comparison with a number: {quote(text)}", 'write ">= 2048"')
        try:
            return Text(text_glob(text))
        except BadGlob as error:
            raise BadValue(f"{error}: {quote(text)}", error.hint) from error

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": ["string", "number", "boolean"], "maxLength": MAX_LENGTH}


def _numbers(operator: str, limit: float, text: str) -> Numbers:
    low = -math.inf if "<" in operator else limit
    high = math.inf if ">" in operator else limit
    return Numbers(low, high, open_=operator in {"<", ">"}, text=text)


VALUES: Final = OneOrMore(WantedReader(), "a value")


@dataclass(frozen=True, slots=True)
class FactReader:
    """Header facts by name, each with the values that pass."""

    def read(self, node: Node, diagnostics: Diagnostics) -> tuple[FactFits, ...]:
        """A condition for each."""
        if not isinstance(node, Mapping) or not node.entries:
            raise BadValue("must hold names of facts, each with a value", "{image.format: PNG}")
        conditions = []
        for entry in node.entries:
            if not re.fullmatch(_KEY, entry.key):
                message = f"{quote(entry.key)} is not the name of a fact"
                diagnostics.add(entry.position, message, 'names are like "image.width"')
            try:
                values = read_node(VALUES, entry.value, diagnostics)
                conditions.append(FactFits(entry.key, values))
            except BadValue as error:
                message = f"{quote(entry.key)} {error.message}"
                diagnostics.add(entry.value.position, message, error.hint or "")
        return tuple(conditions)

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for patterns and comparisons."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_KEY}$"},
            "additionalProperties": VALUES.json_schema(),
            "minProperties": 1,
        }


FACT: Final = Field(
    "fact",
    FactReader(),
    '{image.width: ">= 2048"}',
    None,
    "Header facts and their values, all of which must match: `<`, `<=`, `=`, `>=` or `>` and a"
    " number, `A..B`, or a text with wildcards as in paths. A list: one must match. Nothing matches"
    " while a fact is not known.",
)
