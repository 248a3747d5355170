"""Which heads are proposed for first reads, and that they are worth what they cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import GIB, KIB, MIB
from tierfs.policy.tier_policy import parse_policy
from tierfs.tiering.first_reads import FirstReads, Source, extension_of
from tierfs.tiering.head_sizes import (
    FEW,
    HeadCost,
    Wanted,
    chosen,
    first_request,
    rule_name,
    wanted_heads,
)
from tierfs.tiering.replay.advice import head_rule

HEAD = 64 * KIB


def wanted(*rows: tuple[Source, str, int, int, int], head: int = HEAD) -> dict[str, Wanted]:
    """Rows of a source, an extension, a size, a reach, and how many there were."""
    table = FirstReads()
    for source, extension, size, reach, count in rows:
        for _ in range(count):
            table.count(source, extension, size, reach)
    return wanted_heads(table.counts, lambda _extension: head, 64 * KIB)


def test_two_planted_reaches_are_found() -> None:
    found = wanted(
        ("requests", ".idx", 600 * KIB, 20 * KIB, 96),
        ("requests", ".idx", 600 * KIB, 600 * KIB, 4),
        ("requests", ".jpg", 600 * KIB, 200 * KIB, 100),
    )
    idx, jpg = found[".idx"], found[".jpg"]
    assert (idx.far, idx.head) == (20 * KIB, 20 * KIB)
    assert [idx.whole, idx.covered, idx.covered_now] == pytest.approx([0.04, 0.96, 0.96])
    assert (jpg.far, jpg.head, jpg.whole) == (224 * KIB, 224 * KIB, 0)
    assert (jpg.covered, jpg.covered_now) == (1, 0)


def test_what_a_job_measured_is_preferred_to_requests() -> None:
    rows: list[tuple[Source, str, int, int, int]] = [
        ("requests", ".jpg", MIB, MIB, 1000),
        ("job", ".jpg", MIB, 20 * KIB, FEW),
    ]
    one = wanted(*rows)[".jpg"]
    assert (one.source, one.far, one.reads) == ("job", 20 * KIB, FEW)
    assert one.head == HEAD  # so much the kernel asks for at once
    rows[1] = ("job", ".jpg", MIB, 20 * KIB, FEW - 1)
    assert wanted(*rows)[".jpg"].source == "requests"


def test_a_file_that_is_read_whole_needs_no_more_than_its_length() -> None:
    one = wanted(("job", ".json", 10 * KIB, 10 * KIB, 50))[".json"]
    assert (one.head, one.whole) == (12 * KIB, 1)


def test_what_no_head_is_long_enough_for() -> None:
    one = wanted(("requests", ".mp4", GIB, GIB, 50))[".mp4"]
    assert (one.far, one.head, one.covered, one.covered_now) == (0, 0, 0, 0)
    one = wanted(("requests", ".mp4", GIB, GIB, 50), head=WHOLE_FILE)[".mp4"]
    assert one.covered_now == 1


def test_classes_of_sizes_are_told_apart() -> None:
    one = wanted(
        ("requests", ".jpg", 100 * KIB, 100 * KIB, 60),
        ("requests", ".jpg", 900 * KIB, 200 * KIB, 40),
    )[".jpg"]
    assert [tuple(of_size) for of_size in one.classes] == [
        (128 * KIB, 60, 112 * KIB, 1),
        (1024 * KIB, 40, 224 * KIB, 0),
    ]


@pytest.mark.parametrize(
    ("reach", "read_ahead", "asked"),
    [
        (1, 128, 16),
        (8, 128, 16),
        (20, 128, 64),
        (50, 128, 128),
        (128, 128, 128),
        (200, 128, 256),
        (20, 64, 64),
        (20, 16, 32),
        (200, 16, 208),
        (8, 1024, 32),
        (20, 0, 20),
    ],
)
def test_how_much_the_kernel_asks_for(reach: int, read_ahead: int, asked: int) -> None:
    """In KiB."""
    assert first_request(reach * KIB, read_ahead * KIB) == asked * KIB


def test_what_is_proposed_is_worth_it_and_fits() -> None:
    found = wanted(
        ("requests", ".jpg", 600 * KIB, 200 * KIB, 100),
        ("requests", ".tif", 600 * KIB, 20 * KIB, 50),
        ("requests", ".png", 600 * KIB, 300 * KIB, 90),
        ("requests", ".bin", 600 * KIB, 60 * KIB, 90),
        ("requests", ".few", 600 * KIB, 300 * KIB, FEW - 1),
        ("requests", "", 600 * KIB, 300 * KIB, 500),
    )
    costs = {
        ".jpg": HeadCost(10, 6 * MIB, 640 * KIB, 2240 * KIB),
        ".tif": HeadCost(10, 6 * MIB, 640 * KIB, 200 * KIB),
        ".png": HeadCost(900, 600 * MIB, 57 * MIB, 300 * MIB),
        ".bin": HeadCost(10, 6 * MIB, 640 * KIB, 640 * KIB),
        ".few": HeadCost(10, 6 * MIB, 640 * KIB, 3 * MIB),
        "": HeadCost(10, 6 * MIB, 640 * KIB, 3 * MIB),
    }

    def names(room: int) -> list[str]:
        return [one.extension for one in chosen(found.values(), costs, 60 * MIB, room)]

    assert names(room=GIB) == [".tif", ".jpg", ".png"]
    assert names(room=100 * MIB) == [".tif", ".jpg"]
    assert names(room=60 * MIB) == [".tif"]
    assert chosen(found.values(), {}, 0, GIB) == []


@pytest.mark.parametrize("extension", [".jpg", ".JPG", ".a_b", ".7z", ".1", ".yes", ".null", ".-"])
def test_every_extension_that_is_kept_can_be_in_a_rule(extension: str) -> None:
    assert extension_of(b"name" + extension.encode()) == extension
    text = head_rule(extension, 96 * KIB).edit("version: 1\n")
    [rule] = parse_policy(Path("policy.yaml"), text).rules
    assert (rule.name, rule.settings.head) == (rule_name(extension), 96 * KIB)
    again = head_rule(extension, MIB).edit(text)
    assert [one.settings.head for one in parse_policy(Path("policy.yaml"), again).rules] == [MIB]
