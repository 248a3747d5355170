"""Proposals for a tier policy, from logs in which a better one is planted."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import cast

import pytest

from tierfs.common.units import KIB, MIB, SECOND
from tierfs.policy.match import Facts, FileRow
from tierfs.tiering.access_log import FileFacts, Line, Use
from tierfs.tiering.replay.advice import Disk, PolicyText, Proposal, Sample, propose

DISK = Disk(latency=0.008, rate=150_000_000)
NO_RESERVE = "flash: {reserve: 0}\n"


def advise(lines: list[Line], flash: int, text: str = NO_RESERVE) -> Proposal:
    policy = PolicyText(Path("policy.yaml"), f"version: 1\n{text}", 64 * KIB)
    return propose(lines, policy, flash, DISK, lambda _done, _most: None)


def files(first: int, count: int, size: int, directory: str) -> list[Line]:
    return [
        FileFacts(ino, size, 0, 0, 0, 0, (f"{directory}/{ino}".encode(),))
        for ino in range(first, first + count)
    ]


def reads(second: float, ino: int, size: int, pieces: int = 1) -> Use:
    return Use(int(second * SECOND), ino, size, pieces)


def facts_of(paths: tuple[bytes, ...]) -> Facts:
    row = cast(FileRow, None)  # a rule on a path asks for nothing else
    return Facts(0, row, None, lambda: paths, lambda _name: None, lambda _within: None)


def test_a_planted_head_size_is_found() -> None:
    """Readers read the first 200 KiB of files of 10 MiB, in pieces of 50 KiB."""
    random = Random(1)
    lines = files(1, 50, 10 * MIB, "/images")
    lines += [
        reads(10 + step, random.randrange(1, 51), 200 * KIB, pieces=4) for step in range(1500)
    ]
    proposal = advise(lines, flash=60 * MIB)
    assert [change.title for change, _share in proposal.changes] == ["head: 256KiB"]
    assert "head: 256KiB" in proposal.policy.text
    assert proposal.policy.parsed().defaults.head == 256 * KIB
    assert 0.5 < proposal.changes[0][1] <= 1


def test_a_planted_pin_is_found() -> None:
    """A scan of much that is read once a round drives a small directory off flash."""
    lines = files(1, 200, 16 * KIB, "/scan") + files(1001, 20, 16 * KIB, "/all/model")
    second = 0.0
    for _round in range(10):
        for ino in range(1, 201):
            second += 2
            lines.append(reads(second, ino, 16 * KIB))
            if ino % 10 == 0:  # each of the small directory once a round
                lines.append(reads(second, 1001 + (ino // 10) % 20, 16 * KIB))
    proposal = advise(lines, flash=16 * 60 * KIB, text=f"{NO_RESERVE}evict: lru\n")
    assert any(change.title.startswith("pin /all/model") for change, _ in proposal.changes)
    rule = proposal.policy.parsed().rules[0]
    assert (rule.name, rule.settings.pin) == ("pin-all-model", True)


def test_a_policy_that_suits_is_left_alone() -> None:
    lines = files(1, 50, 64 * KIB, "/a")
    lines += [reads(step, 1 + step % 50, 64 * KIB) for step in range(12000)]
    proposal = advise(lines, flash=1000 * MIB)
    assert proposal.changes == ()
    assert proposal.policy.text == f"version: 1\n{NO_RESERVE}"
    assert proposal.tried > 5


def test_a_head_that_contradicts_a_promotion_is_not_proposed() -> None:
    lines = files(1, 20, 10 * MIB, "/a")
    lines += [reads(step, 1 + step % 20, MIB, pieces=16) for step in range(2000)]
    text = f"{NO_RESERVE}promote: {{reads: 1000, within: 1s, to: 128KiB}}\n"
    proposal = advise(lines, flash=1000 * MIB, text=text)
    proposal.policy.parsed()
    assert proposal.policy.parsed().defaults.head < 128 * KIB


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a\\b", "a*b[c]{d,e}?", "!a", "ä b", "#x: y"])
def test_a_pin_names_any_directory_and_no_other(name: str) -> None:
    lines = [*files(1, 1, 16 * KIB, f"/{name}"), reads(0, 2, 16 * KIB), reads(60, 1, 16 * KIB)]
    proposal = advise(lines, flash=16 * MIB)
    (rule,) = proposal.policy.parsed().rules
    (facts,) = (line for line in lines if isinstance(line, FileFacts))
    assert rule.match.test(facts_of(facts.paths))
    assert not rule.match.test(facts_of((b"/other/1",)))


def test_a_sample_has_all_lines_of_its_files() -> None:
    lines: list[Line] = []
    for ino in range(1, 4001):
        lines += [*files(ino, 1, 1, "/a"), *(reads(second, ino, 1) for second in range(9))]
    sample = Sample(lines, most=5000)
    inodes = {line.ino for line in sample.lines if isinstance(line, Use)}
    assert 1900 <= len(sample.lines) <= 5000
    assert len(sample.lines) == 10 * len(inodes)
    assert sample.share in {0.125, 0.0625}
    assert len(inodes) == pytest.approx(4000 * sample.share, rel=0.25)


def test_a_sample_foretells_the_whole() -> None:
    """The change that is best for an eighth of the files is best for all."""
    random = Random(2)
    lines = files(1, 1000, 10 * MIB, "/images")
    lines += [
        reads(10 + step / 4, random.randrange(1, 1001), 200 * KIB, pieces=4) for step in range(6000)
    ]
    whole = advise(lines, flash=1000 * MIB)
    part = propose(
        Sample(lines, most=1000).lines,
        PolicyText(Path("policy.yaml"), f"version: 1\n{NO_RESERVE}", 64 * KIB),
        1000 * MIB // 8,
        DISK,
        lambda _done, _most: None,
    )
    assert whole.changes[0][0].title == part.changes[0][0].title == "head: 256KiB"
