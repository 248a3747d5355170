"""A flash under a policy, on small logs worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tierfs.common.units import GIB, KIB, MIB, SECOND
from tierfs.policy.tier_policy import load_policy
from tierfs.tiering.access_log import FileFacts, Gone, Line, Use
from tierfs.tiering.replay.flash import Ledger, answered
from tierfs.tiering.replay.simulator import SimulatedFlash

HEAD = 64 * KIB

DAY = 24 * 3600

BEGIN = 1_700_000_000

FLASH = "flash: {high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"


class Player:
    """Plays lines under a policy; ``flash`` heads would fill flash."""

    def __init__(self, directory: Path) -> None:
        self._files = (directory / f"{number}.yaml" for number in count())

    def play(self, policy: str, lines: Iterable[Line], flash: int = 100) -> Ledger:
        path = next(self._files)
        path.write_text(f"version: 1\n{policy}")
        played = SimulatedFlash(load_policy(path, head=HEAD), flash * HEAD, known=64)
        for line in lines:
            played.play(line)
        return played.end()


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return Player(tmp_path)


def file(ino: int, size: int = HEAD, head: int = 0, path: str = "", age: int = 0) -> FileFacts:
    names = ((path or f"/{ino}").encode(),)
    return FileFacts(ino, size, (BEGIN - age) * SECOND, 1000, 1000, head, names)


def read(second: float, *inos: int, size: int = HEAD, reads: int = 1) -> list[Use]:
    return [Use(int((BEGIN + second) * SECOND), ino, size, reads) for ino in inos]


def write(second: float, *inos: int, size: int = HEAD) -> list[Use]:
    return [Use(int((BEGIN + second) * SECOND), ino, size, write=True) for ino in inos]


def test_a_file_that_was_read_comes_and_the_second_read_hits(player: Player) -> None:
    lines: list[Line] = [file(1), *read(0, 1), *read(10, 1), *read(20, 1)]
    assert player.play("", lines) == Ledger(
        reads=3, hits=2, bytes_read=3 * HEAD, bytes_hit=2 * HEAD, to_flash=HEAD, peak=HEAD,
        used=HEAD,
    )  # fmt: skip


def test_of_a_large_file_the_head_hits(player: Player) -> None:
    lines: list[Line] = [
        file(1, MIB),
        *read(0, 1, size=MIB, reads=8),
        *read(10, 1, size=MIB, reads=8),
    ]
    ledger = player.play("", lines)
    assert (ledger.hits, ledger.bytes_hit, ledger.used) == (1, HEAD, HEAD)
    whole = player.play("head: all\n", lines)
    assert (whole.hits, whole.bytes_hit, whole.to_flash) == (8, MIB, MIB)


def test_what_the_log_says_is_on_flash_is_there(player: Player) -> None:
    lines: list[Line] = [file(1, MIB, head=HEAD), *read(0, 1)]
    assert player.play("", lines).hits == 1
    none = player.play("head: none\n", lines)
    assert (none.hits, none.used, none.to_disk) == (0, 0, 0)


def test_a_rule_is_matched_by_the_facts_of_the_log(player: Player) -> None:
    policy = 'rules: [{name: a, match: {path: "/old/**", size: "> 1KiB"}, head: none}]\n'
    lines: list[Line] = [
        file(1, path="/old/a"),
        file(2, path="/new/b"),
        *read(0, 1, 2),
        *read(10, 1, 2),
    ]
    assert player.play(policy, lines).hits == 1
    renamed = [*lines, file(1, path="/new/a"), *read(20, 1), *read(30, 1)]
    assert player.play(policy, renamed).hits == 2


def test_a_pinned_file_is_there_before_it_is_read_and_stays(player: Player) -> None:
    policy = f'{FLASH}rules: [{{name: p, match: {{path: "/1"}}, head: all, pin: true}}]\n'
    written = [use for ino in range(2, 12) for use in write(10 + ino, ino)]
    lines: list[Line] = [file(1, 2 * HEAD), *read(5, 99), *written, *read(60, 1, size=2 * HEAD)]
    ledger = player.play(policy, lines, flash=10)
    assert ledger.bytes_hit == 2 * HEAD
    assert ledger.peak <= 9 * HEAD
    assert ledger.used <= 8 * HEAD


PINNED = 'rules: [{name: p, match: {path: "/*"}, head: all, pin: true}]\n'


@pytest.mark.parametrize(
    ("flash", "most"),
    [
        ("flash: {high_watermark: 50%, low_watermark: 40%, reserve: 0}\n", 50),
        ("flash: {high_watermark: 90%, low_watermark: 80%, reserve: 3MiB}\n", 52),
        ("flash: {high_watermark: 2MiB, low_watermark: 1MiB, reserve: 0}\n", 32),
    ],
)
@pytest.mark.parametrize("how", ["written", "met", "on flash"])
def test_pins_keep_to_the_watermarks_and_the_reserve_as_on_a_mount(
    player: Player, flash: str, most: int, how: str
) -> None:
    """Ten files of ten heads each are pinned, where flash has room for ten such files."""
    lines: list[Line] = []
    for ino in range(1, 11):
        head = 10 * HEAD if how == "on flash" else 0
        size = 0 if how == "written" else 10 * HEAD
        lines += [file(ino, size, head=head)]
        lines += write(ino, ino, size=10 * HEAD) if how == "written" else []
    lines += [*read(100, 99), *read(4000, 99), *read(8000, 99)]
    ledger = player.play(flash + PINNED, lines, flash=100)
    # A write of a new file may begin just below the mark: as much as its head goes beyond it.
    assert ledger.peak <= (most + 1) * HEAD
    assert ledger.used >= (most - 20) * HEAD


@pytest.mark.parametrize("head", ["64KiB", "32KiB"])
def test_for_a_large_pinned_file_whatever_may_go_goes(player: Player, head: str) -> None:
    """Behind thousands of older files of a few bytes, and also where only heads are left."""
    rules = 'rules: [{name: p, match: {path: "/pinned"}, head: all, pin: true}]\n'
    lines: list[Line] = [file(ino, head=HEAD) for ino in range(1, 61)]
    lines += [file(ino, 100, head=100, age=DAY) for ino in range(100, 3100)]
    lines += [file(4000, 70 * HEAD, path="/pinned"), *read(10, 1), *read(20, 1)]
    ledger = player.play(f"head: {head}\n{FLASH}{rules}", lines)
    assert ledger.used >= 70 * HEAD
    assert ledger.peak <= 80 * HEAD


def test_a_pinned_file_that_fits_by_no_means_pushes_nobody_out(player: Player) -> None:
    rules = 'rules: [{name: p, match: {path: "/pinned"}, head: all, pin: true}]\n'
    lines: list[Line] = [file(ino, head=HEAD) for ino in range(1, 61)]
    lines += [file(4000, 90 * HEAD, path="/pinned"), *read(10, 1), *read(20, 1)]
    ledger = player.play(FLASH + rules, lines)
    assert (ledger.used, ledger.evicted) == (60 * HEAD, 0)


def test_a_capacity_is_all_that_is_filled(player: Player) -> None:
    flash = "flash: {capacity: 1GiB, high_watermark: 80%, low_watermark: 60%, reserve: 0}\n"
    lines = [use for ino in range(1, 40) for use in write(ino, ino, size=GIB // 32)]
    ledger = player.play(f"head: 32MiB\n{flash}", lines, flash=2**16)
    assert ledger.peak <= GIB * 0.8 + GIB // 32


def test_above_the_high_watermark_flash_falls_to_the_low_one(player: Player) -> None:
    written = [use for ino in range(1, 10) for use in write(ino, ino)]
    ledger = player.play(FLASH, written, flash=10)
    assert (ledger.peak, ledger.used, ledger.evicted) == (9 * HEAD, 6 * HEAD, 3 * HEAD)
    assert ledger.to_flash == 0


def test_written_files_are_mirrored_once_they_are_left_alone(player: Player) -> None:
    lines: list[Line] = [*write(0, 1), *write(3, 1), *write(20, 2), *read(60, 2)]
    assert player.play("", lines).to_disk == 2 * HEAD
    assert player.play("mirror: never\n", lines).to_disk == 0


def test_what_is_not_mirrored_is_copied_when_it_goes(player: Player) -> None:
    written = [use for ino in range(1, 10) for use in write(ino, ino)]
    assert player.play(f"mirror: never\n{FLASH}", written, flash=10).to_disk == 3 * HEAD


def test_a_file_read_often_is_promoted(player: Player) -> None:
    lines: list[Line] = [
        file(1, MIB),
        *(use for t in range(0, 50, 10) for use in read(t, 1, size=MIB)),
    ]
    ledger = player.play("promote: {reads: 3, within: 1h}\n", lines)
    assert ledger.bytes_hit == 2 * HEAD + 2 * MIB
    assert ledger.to_flash == MIB
    seldom = player.play("promote: {reads: 3, within: 15s}\n", lines)
    assert seldom.bytes_hit == 4 * HEAD


def test_a_file_nobody_reads_leaves_by_an_idle_rule(player: Player) -> None:
    policy = 'rules: [{name: idle, match: {idle: "> 2d"}, head: none}]\n'
    lines: list[Line] = [file(1), *read(0, 1), file(2), *read(DAY, 2), *read(5 * DAY, 2)]
    ledger = player.play(policy, lines)
    assert ledger.used == HEAD
    assert ledger.peak == 2 * HEAD


def test_a_file_that_is_gone_takes_no_room(player: Player) -> None:
    lines: list[Line] = [*write(0, 1), Gone(1), Gone(7), *read(10, 1)]
    ledger = player.play("", lines)
    assert (ledger.peak, ledger.hits) == (HEAD, 0)


@pytest.mark.parametrize(
    ("mover", "moved"), [("{rate: 64KiB/s}", 2), ("{operations: 1/s}", 2), ("{rate: 1MiB/s}", 6)]
)
def test_the_movers_limits_hold(player: Player, mover: str, moved: int) -> None:
    """In two seconds; the last tick comes behind a pause, in which one more may move."""
    lines: list[Line] = [*read(0, 1, 2, 3), *read(1, 4, 5, 6)]
    assert player.play(f"mover: {mover}\n", lines).to_flash == moved * HEAD


def test_outside_of_its_window_nothing_is_brought_up(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    lines: list[Line] = [*read(0, 1), *read(60, 1), *read(120, 1)]  # 22:13 UTC
    assert player.play('mover: {window: "03:00-04:00"}\n', lines).hits == 0
    assert player.play('mover: {window: "22:00-23:00"}\n', lines).hits == 2


@pytest.mark.parametrize(
    ("size", "reads", "prefix", "expected"),
    [
        (100, 1, 0, (0, 0)),
        (100, 1, 10, (1, 10)),
        (100, 10, 25, (3, 25)),
        (100, 10, 1000, (10, 100)),
        (300, 3, 50, (2, 150)),
        (50, 5, 100, (5, 50)),
    ],
)
def test_what_flash_answers_of_reads_in_a_row(
    size: int, reads: int, prefix: int, expected: tuple[int, int]
) -> None:
    assert answered(Use(0, 1, size, reads), 100, prefix) == expected


uses = st.builds(
    Use,
    st.integers(BEGIN, BEGIN + 100 * DAY).map(lambda second: second * SECOND),
    st.integers(1, 9),
    st.integers(1, 3 * HEAD),
    st.integers(1, 4),
    st.booleans(),
)

facts = st.builds(
    file, st.integers(1, 9), st.integers(0, 3 * HEAD), st.sampled_from([0, HEAD]),
    st.sampled_from(["/a/1", "/b/2"]),
)  # fmt: skip

logs = st.lists(uses | facts | st.integers(1, 9).map(Gone), max_size=60)

POLICIES = [
    "",
    "promote: {reads: 2, within: 1h}\n",
    FLASH
    + """
rules:
  - {name: a, match: {path: "/a/**"}, pin: true, head: all}
  - {name: i, match: {idle: "> 1d"}, head: none}
""",
]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=logs, policy=st.sampled_from(POLICIES), flash=st.integers(1, 8))
def test_two_replays_are_equal_and_the_figures_make_sense(
    player: Player, lines: list[Line], policy: str, flash: int
) -> None:
    first = player.play(policy, lines, flash)
    assert player.play(policy, lines, flash) == first
    assert 0 <= first.used <= first.peak <= flash * HEAD
    assert 0 <= first.hits <= first.reads
    assert 0 <= first.bytes_hit <= first.bytes_read


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=logs)
def test_with_no_head_nothing_ever_hits(player: Player, lines: list[Line]) -> None:
    ledger = player.play("head: none\n", lines)
    assert (ledger.hits, ledger.bytes_hit, ledger.to_flash, ledger.used) == (0, 0, 0, 0)
