"""What the linters do not look at: the length of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.guards.conftest import REPOSITORY

LONGEST = 400
"""Lines; a longer file holds more than one thing, and is to be parted."""


def sources() -> Iterator[Path]:
    """Every Python file of the package and its tests."""
    for package in ("tierfs", "tests"):
        yield from (REPOSITORY / package).rglob("*.py")


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in sources()}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}
