"""How far into files is read first, as ``tierfs advise`` shows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tierfs.cli.messages import aligned
from tierfs.common.units import format_size

MOST: Final = 12
"""Extensions that are shown, those read most."""

SHARE: Final = 0.05
"""A class of sizes is shown if it has so much of the first reads of its extension."""

HEADINGS: Final = (
    "",
    "SIZE",
    "FIRST READS",
    "FAR",
    "WHOLE",
    "COVERED",
    "HEAD",
    "THEN",
    "FLASH",
    "BY",
)

SOURCES: Final = {
    "job": "measured by the training client",
    "requests": "upper bound: from requests, read-ahead counted",
}


def first_read_lines(extensions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The table, and what its words mean; nothing where nothing was counted."""
    if not extensions:
        return
    shown = extensions[:MOST]
    yield "how far files are read first, by extension and size (nineteen of twenty, at most so far)"
    yield ""
    yield from aligned([HEADINGS, *(row for one in shown for row in _rows(one))], numbers=0)
    if len(extensions) > MOST:
        yield f"and {len(extensions) - MOST} more"
    yield ""
    for source, meaning in SOURCES.items():
        if any(one["source"] == source for one in shown):
            yield f"{source}: {meaning}"
    yield ""


def _rows(one: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    cost = one["cost"]
    more = cost["then"] - cost["now"] if cost else 0
    yield (
        one["extension"] or "others",
        "",
        f"{one['reads']:,.0f}",
        _far(one["far"]),
        f"{one['whole']:.0%}",
        f"{one['covered_now']:.0%}",
        _far(one["head"]) if one["proposed"] else "",
        f"{one['covered']:.0%}" if one["proposed"] else "",
        f"{'-' if more < 0 else '+'}{format_size(abs(more))}" if one["proposed"] else "",
        one["source"],
    )
    classes = [it for it in one["classes"] if it["reads"] >= SHARE * one["reads"]]
    for it in classes if len(classes) > 1 else ():
        size, reads = f"to {format_size(it['size'])}", f"{it['reads']:,.0f}"
        yield "", size, reads, _far(it["far"]), f"{it['whole']:.0%}", "", "", "", "", ""


def _far(reach: int) -> str:
    return format_size(reach) if reach else "further"
