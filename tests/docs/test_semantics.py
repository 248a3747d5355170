"""Every test that the table of promises names is there."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, read
from tests.parity.registry import load

PAGE = "docs/reference/semantics.md"


def named_tests() -> dict[str, list[str]]:
    """What the last cell names, by the first, in the tables whose last column is called test."""
    found: dict[str, list[str]] = {}
    tested = False
    for line in read(PAGE).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            tested = False
        elif cells[-1] == "test":
            tested = True
        elif tested and not cells[0].startswith("-"):
            found[cells[0]] = re.findall(r"`([^`]+)`", cells[-1])
    return found


def test_every_row_names_its_tests() -> None:
    rows = named_tests()
    assert rows
    assert [row for row, tests in rows.items() if not tests] == []


def test_every_named_test_exists() -> None:
    cases = {case.base for case in load()}
    named = {name for tests in named_tests().values() for name in tests}
    unknown = {name for name in named - cases if not (ROOT / "tests" / name).is_file()}
    assert not unknown
