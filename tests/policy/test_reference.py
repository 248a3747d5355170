"""The reference page names every key, and its example loads."""

from __future__ import annotations

import re

import pytest

from tests.policy.loading import CONFIGS, Loader
from tierfs.policy.fields import Table
from tierfs.policy.volume_file import VOLUME

PAGE = (CONFIGS.parent / "docs" / "reference" / "volume-file.md").read_text()


def keys(table: Table, prefix: str = "") -> list[str]:
    """Dotted names of the table's keys, those of tables inside it included."""
    found: list[str] = []
    for field in table.fields:
        name = prefix + field.name
        nested = field.reader if isinstance(field.reader, Table) else None
        found += keys(nested, f"{name}.") if nested else [name]
    return found


def test_every_key_has_its_row_in_the_order_of_the_table() -> None:
    assert re.findall(r"(?m)^\| `([a-z._]+)` \| (?:yes|no) \|", PAGE) == keys(VOLUME)


@pytest.mark.parametrize("block", re.findall(r"(?s)```yaml\n(.*?)```", PAGE))
def test_the_examples_load(loader: Loader, block: str) -> None:
    assert loader.load(block).head == 64 * 1024


def test_the_mistakes_shown_are_what_is_said(loader: Loader) -> None:
    text = "version: 1\nflsh: /f\ndisk: /d\nhead: 5000\n\nmetrics: {listen: 9469}\n"
    (shown,) = re.findall(r"(?s)```\n(volume\.yaml:.*?)```", PAGE)
    assert [f"volume.yaml:{line}" for line in loader.complaints(text)] == shown.splitlines()
