"""The documents of the repository, taken apart for the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/*.md")],
)

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_NAMED = re.compile(r"`((?:tierfs|tests|configs|docs)/[\w/-]+(?:\.(?:py|md|yaml))?)`")


def read(name: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the heading that each link to a place in the repository leads to."""
    for target in _LINK.findall(prose(page)):
        if "://" not in target:
            name, _, heading = target.partition("#")
            yield (page.parent / name if name else page), heading


def anchors(page: Path) -> set[str]:
    """What a link may name behind its #, as the usual renderers make it of the headings."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named_files(page: Path) -> list[str]:
    """Files of the repository that a page mentions."""
    return _NAMED.findall(prose(page))


def first_cells(text: str) -> set[str]:
    """The first cell of every row of every table, without its backticks."""
    return {match.strip("` *") for match in re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)}


def commands(text: str, program: str) -> list[list[str]]:
    """The words of every command line of ``program``, at a prompt or in backticks, but its name."""
    lines = re.findall(rf"(?:\$ |`)(?:sudo )?{program} ([^`;#\n]+)", text)
    return [line.split() for line in lines]
