"""Writes the table of facts in docs/reference/facts.md from the extractors.

Run ``python -m tests.facts.facts_page`` after a change of their keys.
"""

from __future__ import annotations

import re
from pathlib import Path

from tierfs.facts.extractor import load_installed

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "facts.md"
_BLOCK = re.compile(r"(?s)(<!-- facts -->\n).*?(<!-- end -->)")


def rendered(page: str) -> str:
    """``page`` with its table as it must be."""
    return _BLOCK.sub(lambda found: f"{found[1]}{table()}{found[2]}", page)


def table() -> str:
    """A line for each fact."""
    lines = ["| fact | extractor | meaning |", "|---|---|---|"]
    for extractor in load_installed().extractors:
        lines += [
            f"| `{key}` | {extractor.name} | {meaning} |" for key, meaning in extractor.keys.items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
