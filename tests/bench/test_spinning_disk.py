"""The command that compares tierfs with a simulated disk: all of it, once, without delays."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.reports import report, result
from tests.support.fixtures import directory
from tests.support.mounting import tierfs
from tierfs.bench.first_byte import WHOLE_ALL, WHOLE_FILE
from tierfs.bench.framework.runner import Conditions
from tierfs.bench.framework.scenario import Better, Figure
from tierfs.bench.loader import Training
from tierfs.bench.spindle_model import Geometry
from tierfs.bench.spinning import Plan, explain, gains

SMALL_RUN = (
    *("--files", "20", "--batches", "3", "--batch", "2", "--step", "1"),
    *("--workers", "2", "--repeat", "1", "--scale", "0"),
)


def mounts_below(path: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(path) in line]


@pytest.mark.timeout(240)
def test_everything_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    figures, chart = tmp_path / "figures.json", tmp_path / "chart.svg"
    with directory(tmp_path / "unused") as home:
        files = ("--dir", str(home), "--json", str(figures), "--chart", str(chart))
        said = tierfs("bench", "spinning-disk", *SMALL_RUN, *files, timeout=200)
        assert list(home.iterdir()) == []
        assert mounts_below(home) == []
    reports = json.loads(figures.read_text())["reports"]
    assert len(reports) == 3
    for one in reports:
        assert {measured["side"] for measured in one["results"]} == {"disk alone", "tierfs"}
    assert "times shorter from tierfs" in said
    assert "the accelerator takes 2000 images a second" in re.sub(r"\s+", " ", said)
    assert chart.read_text().startswith("<svg")


@pytest.mark.timeout(120)
def test_a_part_can_be_measured_without_the_fast_path(tmp_path: Path) -> None:
    with directory(tmp_path / "unused") as home:
        more = ("--dir", str(home), "--only", "training", "--no-fastpath")
        said = tierfs("bench", "spinning-disk", *SMALL_RUN, *more, timeout=100)
    assert "accelerator busy" in said
    assert "whole file" not in said


@pytest.mark.timeout(120)
def test_after_an_interrupt_nothing_is_left(tmp_path: Path) -> None:
    with directory(tmp_path / "unused") as home:
        program = [sys.executable, "-m", "tierfs", "bench", "spinning-disk", "--files", "300"]
        with subprocess.Popen(
            [*program, "--dir", str(home)], stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert any("turn 1 of 5" in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert list(home.iterdir()) == []
        assert mounts_below(home) == []


def test_a_gain_is_told_as_a_factor_and_in_percent() -> None:
    time = Figure(WHOLE_ALL, "ms", Better.LESS)
    made = report(
        result("disk alone", 10.0, 12.0, figure=time, scenario=WHOLE_FILE),
        result("tierfs", 2.5, 3.0, figure=time, scenario=WHOLE_FILE),
        baseline="disk alone",
    )
    (told,) = gains(made)
    assert told.startswith("whole file, all files: 4.00 times shorter from tierfs than from the")
    assert told.endswith("or 75 % less")


def test_the_choice_of_the_step_is_explained() -> None:
    plan = Plan((), Path(), (), (), Geometry(), Conditions(), training=Training(32, 0.1))
    assert "takes 320 images a second" in explain(plan, 35 * 1024)
    assert "needs 12.9 ms for each, 78 a second, which is 24% of that" in explain(plan, 35 * 1024)
