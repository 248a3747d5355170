from __future__ import annotations

import pytest

from tests.docs.pages import read
from tierfs.cli.fsck import command
from tierfs.fsck.kinds import KINDS, Kind

REFERENCE = "docs/reference/fsck.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_every_kind_is_documented_as_it_is_told(kind: Kind) -> None:
    row = f"| `{kind.name}` | {kind.severity} | {kind.meaning} | {kind.advice} |"
    assert row in read(REFERENCE)


def test_every_option_is_documented() -> None:
    options = {name for option in command.params for name in option.opts if name.startswith("-")}
    assert options
    assert [name for name in options if f"`{name}`" not in read(REFERENCE)] == []
