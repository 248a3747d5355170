"""Damage of every kind is found, and documented as it is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import read
from tests.fsck.image import Image
from tests.fsck.plants import PLANTS, Findings, Plant
from tierfs.cli.fsck import command
from tierfs.fsck import kinds
from tierfs.fsck.check import check
from tierfs.fsck.kinds import KINDS, Kind


def found_in(image: Image) -> Findings:
    return {
        (finding.kind, finding.ino) for finding in check(image.settings, thorough=True).findings
    }


def test_nothing_is_found_in_the_image(original: Image) -> None:
    report = check(original.settings, thorough=True)
    assert (report.findings, report.awaiting_removal, report.awaiting_trim) == ([], 1, 1)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=list(PLANTS))
def test_each_damage_is_found_and_nothing_else(image: Image, plant: Plant) -> None:
    wanted = plant(image)
    report = check(image.settings, thorough=True)
    assert {(finding.kind, finding.ino) for finding in report.findings} == wanted
    assert sum(report.counts.values()) == len(report.findings)
    assert report.clean == all(
        kind in {kinds.UNUSED_OBJECT, kinds.LEFTOVER, kinds.COUNTS} for kind, _ in wanted
    )


def test_every_kind_is_planted(image: Image, home: Path) -> None:
    planted = {
        kind
        for number, plant in enumerate(PLANTS.values())
        for kind, _ in plant(image.copy(home / f"{number}"))
    }
    elsewhere = {kinds.INDEX, kinds.UNREADABLE, kinds.WRONG_HEAD, kinds.WRONG_MIRROR}
    of_backups = {kinds.BAD_BACKUP, kinds.FEED_GAP, kinds.OLD_BACKUPS}
    assert planted == set(kinds.KINDS) - elsewhere - of_backups


REFERENCE = "docs/reference/fsck.md"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_every_kind_is_documented_as_it_is_told(kind: Kind) -> None:
    row = f"| `{kind.name}` | {kind.severity} | {kind.meaning} | {kind.advice} |"
    assert row in read(REFERENCE)


def test_every_option_is_documented() -> None:
    options = {name for option in command.params for name in option.opts if name.startswith("-")}
    assert options
    assert [name for name in options if f"`{name}`" not in read(REFERENCE)] == []
