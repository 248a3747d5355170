"""Times of the week: ``22:00-06:00``, ``mon-fri 20:00-07:00``, ``sat,sun 00:00-24:00``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierfs.policy.diagnostics import did_you_mean, quote
from tierfs.policy.model import DAYS, Window
from tierfs.policy.schema import BadValue, pattern_schema, scalar_text

if TYPE_CHECKING:
    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.yaml import Node

_DAY = "(?:" + "|".join(f"[{day[0].upper()}{day[0]}]{day[1:]}" for day in DAYS) + ")"
_DAYS = rf"{_DAY}(?:-{_DAY})?(?:,\s?{_DAY}(?:-{_DAY})?)*"
_TIME = "(?:[01]?[0-9]|2[0-3]):[0-5][0-9]"
_WINDOW = rf"(?:{_DAYS}\s{{1,8}})?{_TIME}\s?-\s?(?:{_TIME}|24:00)"
_PARTS = re.compile(rf"(?:(?P<days>{_DAYS})\s+)?(?P<start>[0-9:]+)\s?-\s?(?P<end>[0-9:]+)")


@dataclass(frozen=True, slots=True)
class WindowReader:
    """``[DAYS ]HH:MM-HH:MM``."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Window:
        """The window."""
        text = scalar_text(node).strip()
        parts = _PARTS.fullmatch(text) if re.fullmatch(_WINDOW, text) else None
        if parts is None:
            message = f"must be a time of day such as 22:00-06:00, not {quote(text)}"
            raise BadValue(message, _hint(text))
        start, end = _minute(parts["start"]), _minute(parts["end"])
        if start == end:
            hint = 'for the whole day write "00:00-24:00"'
            raise BadValue(f"is empty: {quote(text)} ends as it starts", hint)
        return Window(_days(parts["days"]), start, end, text)

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for windows that are empty."""
        return pattern_schema(_WINDOW)


def _minute(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def _days(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(len(DAYS)))
    found: set[int] = set()
    for part in re.split(r",\s?", text.lower()):
        first, _, last = part.partition("-")
        start = DAYS.index(first)
        # Modulo, since a range may pass the end of the week: sat-mon.
        length = (DAYS.index(last or first) - start) % len(DAYS)
        found |= {(start + step) % len(DAYS) for step in range(length + 1)}
    return frozenset(found)


def _hint(text: str) -> str:
    for name in re.findall("[A-Za-z]+", text):
        meant = did_you_mean(name, DAYS)
        if name.lower() not in DAYS:
            return f'did you mean "{meant}"?' if meant else f"days are {', '.join(DAYS)}"
    return 'write, for example, "22:00-06:00" or "mon-fri 20:00-07:00"'
