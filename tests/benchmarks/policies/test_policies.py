"""What the policy promises, in the simulator, and the command. Virtual time: nothing is timed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.policies import policies, workloads
from tests.benchmarks.policies.simulate import Outcome, simulate
from tests.benchmarks.policies.workloads import Shape
from tierfs.common.errors import ExitCode

FILES = 600
READS = 9000
OTHERS = ("lru", "lfu", "s3-fifo", "sieve")
SEEDS = (1, 2, 3)
EPOCHS = ("shuffled epochs", "sequential epochs")


@cache
def outcome(
    workload: str, policy: str, seed: int, sizes: str = "equal", known: int = policies.KNOWN
) -> Outcome:
    shape = Shape(FILES, READS, sizes=sizes)
    made = workloads.make(workload, shape, seed)
    flash = workloads.flash_for(shape, seed)
    return simulate(policies.make(policy, flash, made, known), made, flash)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workload", EPOCHS)
def test_epochs_over_four_times_the_flash_hit_in_proportion(workload: str, seed: int) -> None:
    assert outcome(workload, "tierfs", seed).hit_rate >= 0.95 / 4
    assert outcome("sequential epochs", "lru", seed).hit_rate == 0


@pytest.mark.parametrize("workload", EPOCHS)
def test_so_they_do_with_files_of_many_sizes(workload: str) -> None:
    ours = outcome(workload, "tierfs", 1, "heads")
    assert ours.hit_rate >= 0.95 / 4
    assert ours.byte_hit_rate >= 0.93 / 4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", ["equal", "heads"])
def test_zipf_is_near_the_best_of_the_others(seed: int, sizes: str) -> None:
    best = max(outcome("zipf", other, seed, sizes).hit_rate for other in OTHERS)
    assert outcome("zipf", "tierfs", seed, sizes).hit_rate >= 0.95 * best


@pytest.mark.parametrize("seed", SEEDS)
def test_so_it_is_by_bytes_as_well(seed: int) -> None:
    best = max(outcome("zipf", other, seed, "heads").byte_hit_rate for other in OTHERS)
    assert outcome("zipf", "tierfs", seed, "heads").byte_hit_rate >= 0.95 * best


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", ["equal", "heads"])
def test_training_beside_ingest_is_near_the_optimum(seed: int, sizes: str) -> None:
    ours, optimum = (
        outcome("training and ingest", name, seed, sizes) for name in ("tierfs", "belady")
    )
    assert ours.hit_rate >= 0.9 * optimum.hit_rate


@pytest.mark.parametrize("seed", SEEDS)
def test_an_epoch_over_everything_does_not_flush_what_is_read_often(seed: int) -> None:
    ours, lru, optimum = (
        outcome("hot set and a scan", name, seed).hit_rate for name in ("tierfs", "lru", "belady")
    )
    assert ours >= 0.98 * optimum
    assert ours > lru


@pytest.mark.parametrize("seed", SEEDS)
def test_a_set_that_moves_on_is_followed(seed: int) -> None:
    ours, optimum = (outcome("shifting set", name, seed).hit_rate for name in ("tierfs", "belady"))
    assert ours >= 0.93 * optimum


@pytest.mark.parametrize("workload", workloads.MAKERS)
def test_no_other_policy_moves_less_on_the_whole(workload: str) -> None:
    """Where s3-fifo moves less, beside ingest, it is by less than flash holds."""
    least = min(outcome(workload, other, 1).moved for other in OTHERS)
    flash = workloads.flash_for(Shape(FILES, sizes="equal"), 1)
    assert outcome(workload, "tierfs", 1).moved <= least + flash


@pytest.mark.parametrize("workload", EPOCHS)
def test_a_table_smaller_than_the_data_set_is_enough(workload: str) -> None:
    assert outcome(workload, "tierfs", 1, known=FILES // 2).hit_rate >= 0.8 / 4


def test_the_same_seed_gives_the_same_numbers() -> None:
    first = outcome("zipf", "tierfs", 1)
    outcome.cache_clear()
    assert outcome("zipf", "tierfs", 1) == first
    assert outcome("zipf", "tierfs", 2) != first


SMALL = ["policies", "--files=50", "--reads=300"]


def test_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--repeat=2", f"--json={tmp_path}/f.json"]) == 0
    shown = capsys.readouterr().out
    assert "Ratios are to belady" in shown
    assert "the same on every machine" in shown
    [told] = json.loads((tmp_path / "f.json").read_text())["reports"]
    assert {one["scenario"] for one in told["results"]} == set(workloads.MAKERS)
    assert {one["side"] for one in told["results"]} == set(policies.MAKERS)
    assert {len(one["samples"]) for one in told["results"]} == {2}


def test_a_log_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(f"{second} {1 + second % 4} 4096\n" for second in range(40)))
    given = [f"--log={log}", "--flash=50", "--policy=lru", "--policy=tierfs"]
    assert main(["policies", *given, f"--json={tmp_path}/f.json"]) == 0
    [told] = json.loads((tmp_path / "f.json").read_text())["reports"]
    hits = {
        one["side"]: one["samples"] for one in told["results"] if one["scenario"] == "access.log"
        and one["figure"] == "hits"
    }  # fmt: skip
    assert hits == {"lru": [0.0], "tierfs": [100 * 18 / 40]}
    assert "Ratios are to lru" in capsys.readouterr().out


WRONG = {
    "--log brings its own accesses": ["--log=access.log", "--workload=zipf"],
    "--head is for --log": ["--head=64KiB"],
    "access.log:1:1: ": ["--log=access.log"],
    "is not one of the policies compared": ["--policy=lru", "--baseline=belady"],
}


@pytest.mark.parametrize("message", WRONG)
def test_what_makes_no_sense_is_refused(
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("access.log").write_text("wrong\n")
    assert main([*SMALL, *WRONG[message]]) == ExitCode.USAGE
    assert message in capsys.readouterr().err
