"""A failure comes back: by its seed, and by the history that it left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.concurrency.__main__ import main
from tests.concurrency.calls import Event, Outcome
from tests.concurrency.conductor import Plan
from tests.concurrency.linearize import Unexplained
from tests.concurrency.programs import PROFILES, program
from tests.concurrency.saved import load, save
from tests.concurrency.schedule import Instant, drawn, recorded
from tests.concurrency.trial import Trial

pytestmark = pytest.mark.once

PROFILE_OF = {
    "lost-append": "sizes",
    "two-winners": "race",
    "stale-listing": "names",
    "rename-in-two-steps": "names",
    "stale-size": "sizes",
    "forgotten-link": "files",
}
"""Calls that can bring each fault to light."""

SEEDS = range(10)
LENGTH = 40


@pytest.fixture(autouse=True)
def kept(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the histories of failures go."""
    path = scratch / "histories"
    monkeypatch.setenv("TIERFS_HISTORIES", str(path))
    return path


class Runs:
    """Runs on a faulty filesystem, each in a directory of its own."""

    def __init__(self, home: Path, fault: str) -> None:
        self._home = home
        self._fault = fault
        self._count = 0

    def by_seed(self, seed: int) -> tuple[str, list[tuple[int, str, str]]]:
        """What was wrong, or nothing; and who did what in which order with which outcome."""
        trial = self._trial(seed)
        trial.by_seed()
        return _wrong_with(trial), [_shown(event) for event in trial.history]

    def freely(self, seed: int) -> str:
        """The same without a conductor."""
        trial = self._trial(seed)
        trial.freely()
        return _wrong_with(trial)

    def _trial(self, seed: int) -> Trial:
        self._count += 1
        root = self._home / f"run-{self._count}"
        root.mkdir()
        plan = Plan(PROFILE_OF[self._fault], seed, LENGTH, filesystem=self._fault)
        return Trial(plan, root)


def _wrong_with(trial: Trial) -> str:
    try:
        trial.check()
    except Unexplained as error:
        return str(error)
    return ""


def _shown(event: Event) -> tuple[int, str, str]:
    """Without inode numbers, which the filesystem chooses."""
    outcome: Outcome = event.outcome
    if event.call.name == "create" and isinstance(outcome, int):
        outcome = "made"
    if event.call.name == "look" and isinstance(outcome, list):
        outcome = int(outcome[0])
    return event.worker, str(event.call), str(outcome)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "times"),
    [
        ("lost-append", 10),
        ("stale-listing", 10),
        ("two-winners", 2),
        ("rename-in-two-steps", 2),
        ("stale-size", 2),
        ("forgotten-link", 2),
    ],
)
def test_the_seed_that_finds_a_fault_finds_it_every_time(
    scratch: Path, fault: str, times: int
) -> None:
    runs = Runs(scratch, fault)
    seed = next(seed for seed in SEEDS if runs.by_seed(seed)[0])
    found = [runs.by_seed(seed) for _ in range(times)]
    assert all(wrong for wrong, _ in found)
    assert all(history == found[0][1] for _, history in found)


@pytest.mark.timeout(300)
def test_a_failure_without_a_conductor_is_replayed_from_its_history(
    scratch: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(scratch, "lost-append")
    wrong = next(filter(None, map(runs.freely, SEEDS)))
    (history,) = kept.iterdir()
    assert f"check {history}" in wrong
    assert main(["check", str(history)]) == 1
    assert "no order of these calls explains" in capsys.readouterr().out
    again = ["replay", str(history), "--under", str(scratch), "--attempts", "10"]
    assert main(again) == 1
    assert re.search(r"attempt \d+ of 10: no order", capsys.readouterr().out)
    # The same calls in the same order on a sound filesystem: it was not the calls.
    text = history.read_text()
    history.write_text(text.replace('"lost-append"', '"real"', 1))
    assert main(again) == 0


def test_a_history_is_replayed_on_a_mount_of_its_own(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = Trial(Plan("names", 1, 20), scratch / "trial")
    trial.by_seed()
    trial.check()
    path = save(trial.plan, trial.history)
    assert main(["replay", str(path), "--attempts", "2"]) == 0
    assert "2 attempts, and nothing was wrong" in capsys.readouterr().out


def test_a_file_that_is_no_history_is_refused(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("", "{}\n", "what\n", '{"profile": "names"}\n{"worker": 1}\n'):
        (scratch / "file").write_text(text)
        assert main(["check", str(scratch / "file")]) == 2
        assert "is no saved history" in capsys.readouterr().err
    assert main(["check", str(scratch / "missing")]) == 2


def test_a_history_is_read_as_it_was_written(scratch: Path) -> None:
    trial = Trial(Plan("files", 3, 15), scratch / "trial")
    trial.freely()
    assert load(save(trial.plan, trial.history)) == (trial.plan, trial.history)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_the_calls_of_a_process_depend_on_the_seed_alone(profile: str) -> None:
    first, second = (program(profile, 7, 1, 100, 65536) for _ in range(2))
    assert first == second
    other = program(profile, 8, 1, 100, 65536)
    assert (first == other) is (profile == "race")  # where everybody does the same


def test_a_schedule_depends_on_the_seed_alone_and_has_overlaps() -> None:
    instants = drawn(5, [30, 30, 30, 30])
    assert instants == drawn(5, [30, 30, 30, 30]) != drawn(6, [30, 30, 30, 30])
    assert len(instants) == 240
    busy: set[int] = set()
    most = 0
    for worker, is_end in instants:
        assert is_end is (worker in busy)
        busy ^= {worker}
        most = max(most, len(busy))
    assert not busy
    assert most == 4


def test_the_schedule_of_a_run_by_seed_is_kept(scratch: Path) -> None:
    """What began after another call had to end did so; what met may have missed by little."""
    trial = Trial(Plan("names", 2, 20), scratch / "trial")
    trial.by_seed()
    workers = trial.plan.workers
    lengths = [len(calls) for calls in trial.plan.programs()]
    planned = _ends_before_begins(drawn(2, lengths))
    done = _ends_before_begins([i for i in recorded(trial.history) if i.worker < workers])
    assert planned <= done


def _ends_before_begins(instants: list[Instant]) -> set[tuple[int, int, int, int]]:
    """For each call the calls of others that had ended when it began: (worker, number) twice."""
    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    found = set()
    for worker, is_end in instants:
        if is_end:
            ended[worker] = ended.get(worker, 0) + 1
            continue
        begun[worker] = begun.get(worker, 0) + 1
        found |= {
            (worker, begun[worker], other, number)
            for other in ended
            for number in range(1, ended[other] + 1)
        }
    return found
