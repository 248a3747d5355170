"""The page on crash safety: each section names tests, and each of these is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import ROOT, read

PAGE = "docs/explanation/crash-safety.md"
EXPLAINED = {
    "What does a program notice when the daemon dies?",
    "How a takeover works",
    "What a takeover does not help against",
}
"""Sections that are about no crash point."""

SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in read(PAGE).split("\n## ")[1:]
}
CRASH_POINTS = [heading for heading in SECTIONS if heading not in EXPLAINED]

COVERED = (
    *("Names", "A write", "An fsync", "A truncation", "A move", "A mirror", "An eviction"),
    *("Reclaim", "A tree is being adopted", "A tree is being taken", "Copy-up", "An export"),
    *("A backup", "The copy of the change feed", "A restore", "A new flash", "An upgrade"),
    *("A daemon dies", "A scrub", "A mount, ", "An unmount", "A mount generation"),
)
"""What a crash can meet: how each section begins."""


def functions(file: str) -> set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("heading", CRASH_POINTS)
def test_a_crash_point_names_tests_that_are_there(heading: str) -> None:
    told = re.search(r"^Tests?: (.*)\.$", SECTIONS[heading], re.MULTILINE)
    assert told, "no line 'Test: ...' names one"
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", told[1])
    assert named
    for file, test in named:
        assert (ROOT / "tests" / file).is_file(), file
        assert not test or test in functions(file), f"{file}: {test}"


def test_every_operation_has_a_section() -> None:
    assert set(SECTIONS) >= EXPLAINED
    for beginning in COVERED:
        assert any(heading.startswith(beginning) for heading in CRASH_POINTS), beginning
