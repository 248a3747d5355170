"""What tierfs gains on a simulated disk: all of it, once, without delays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.disk.model import Geometry
from tests.benchmarks.machine import mountpoints
from tests.benchmarks.runner import Conditions, silent
from tests.benchmarks.samples import report, result
from tests.benchmarks.scenario import Better, Figure
from tests.benchmarks.spinning import Plan, explain, gains, training, waiting
from tests.benchmarks.stage import stage
from tests.benchmarks.waiting import BUSY, WHOLE_ALL, WHOLE_FILE, Training
from tierfs.common.units import KIB
from tierfs.daemon.interpreter import module_command

pytestmark = pytest.mark.long


@pytest.mark.timeout(240)
def test_everything_is_measured_and_nothing_is_left(scratch: Path) -> None:
    plan = Plan(
        program=module_command("tierfs"),
        place=scratch,
        drive=("--scale", "0"),
        geometry=Geometry(),
        conditions=Conditions(1),
        files=20,
        batches=3,
        training=Training(2, 0.001, 2),
    )
    with stage() as made:
        files = waiting(plan, made, silent)
        assert [path for path in mountpoints() if scratch in path.parents] != []
    with stage() as made:
        images = training(plan, made, (10 * KIB, 60 * KIB), silent)
    for one in (files, images):
        assert {measured.side for measured in one.results} == {"disk alone", "tierfs"}
    assert "times shorter from tierfs" in files.remarks[0]
    assert BUSY in {one.figure.name for one in images.results}
    assert "the accelerator takes 2000 images a second" in images.remarks[-1]
    assert os.listdir(scratch) == []
    assert [path for path in mountpoints() if scratch in path.parents] == []


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
    plan = Plan((), Path(), (), Geometry(), Conditions(), training=Training(32, 0.1))
    assert "takes 320 images a second" in explain(plan, 35 * 1024)
    assert "needs 12.9 ms for each, 78 a second, which is 24% of that" in explain(plan, 35 * 1024)
