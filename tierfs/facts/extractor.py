"""What an extractor is, and what it may say.

An extractor tells from the first bytes whether a file is one of its own, and reads facts out of it.
What the bytes do not prove it leaves out. A module with an `Extractor` is named by an entry point
of the group `GROUP`; a better version of it has a larger ``version``, and looks at its files again.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final, NamedTuple, TypeAlias

from tierfs.facts.source import Source

GROUP: Final = "tierfs.facts"
"""The group of the entry points."""

KEY: Final = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
LONGEST_KEY: Final = 64
LONGEST_TEXT: Final = 1024
"""Characters of a text; a longer one is left out, since a part of it would be wrong."""
MOST_FACTS: Final = 64
"""Of one file."""
LARGEST: Final = 2**63 - 1

FactValue: TypeAlias = int | float | str
Found: TypeAlias = Mapping[str, FactValue | None]
"""Facts by key; None: not known."""


class NotReadable(Exception):
    """The file is one of the extractor's own, and its header is wrong; the message says how."""


@dataclass(frozen=True, slots=True)
class Extractor:
    """Reads facts out of one family of formats.

    Args:
        name: what it is called; lower case.
        version: larger than that of an earlier one whose facts are to be read again.
        keys: the facts that it finds, each with its meaning.
        recognises: whether a file with these first bytes is one of its own.
        extract: the facts; raises what it likes where the header is wrong.
    """

    name: str
    version: int
    keys: Mapping[str, str]
    recognises: Callable[[bytes], bool]
    extract: Callable[[Source], Found]


class Identity(NamedTuple):
    """Which extractor, and which version of it."""

    name: str
    version: int


class Installed(NamedTuple):
    """The extractors that can be used here, and why others cannot."""

    extractors: list[Extractor]
    missing: dict[str, str]


def load_installed() -> Installed:
    """Import every extractor that is installed with what it needs, in the order of their names."""
    extractors: list[Extractor] = []
    missing: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            loaded = point.load()
        except Exception as error:  # noqa: BLE001 - a package of somebody else, broken in any way
            missing[point.name] = f"{type(error).__name__}: {error}"
            continue
        if isinstance(loaded, Extractor):
            extractors.append(loaded)
        else:
            missing[point.name] = f"{point.value} is no Extractor"
    return Installed(extractors, missing)


def checksum_of(identities: list[Identity]) -> int:
    """A number that another set of extractors, or of versions, does not have."""
    return zlib.crc32(" ".join(f"{name}:{version}" for name, version in identities).encode())


def checked(found: Mapping[str, object]) -> dict[str, FactValue]:
    """The facts that can be stored: what is not known, or too long, is left out.

    Raises:
        ValueError: a key is wrong, there are too many, or a value is of another type.
    """
    facts: dict[str, FactValue] = {}
    for key, value in found.items():
        if len(key) > LONGEST_KEY or not KEY.fullmatch(key):
            message = f"{key!r:.80} is no name of a fact"
            raise ValueError(message)
        if value is None or not _can_be_stored(value):
            continue
        facts[key] = int(value) if isinstance(value, bool) else value  # type: ignore[assignment]
    if len(facts) > MOST_FACTS:
        message = f"{len(facts)} facts of one file"
        raise ValueError(message)
    return facts


def _can_be_stored(value: object) -> bool:
    """Whether a value fits; raises ValueError for what is no value at all."""
    if isinstance(value, int):
        return -LARGEST <= value <= LARGEST
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT and value.isprintable()
    message = f"a {type(value).__name__} is no fact"
    raise ValueError(message)
