"""Data sets of mixed sizes, the wait for a file, and the data loader, on bare directories."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from tests.benchmarks import waiting
from tests.benchmarks.datasets import SMALL, File, images, mostly_small
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.samples import cold_side, medians
from tests.benchmarks.scenario import Scenario, Side
from tests.benchmarks.waiting import (
    BUSY,
    LARGE_MEAN,
    RATE,
    SMALL_MEAN,
    WHOLE_WHAT,
    Loader,
    Training,
    figure_name,
    first_byte,
    percentile,
    read_first,
    read_whole,
    split,
    waits_for,
    whole_file,
)
from tierfs.common.errors import DamageFound, TierfsError
from tierfs.common.units import KIB, MIB

DATASET = mostly_small(20)
IMAGES = images(14, 100, 300)
SCENARIOS: Sequence[Scenario] = (
    first_byte(DATASET),
    whole_file(DATASET),
    Loader("loader", IMAGES, Training(batch=3, step_s=0.001)),
    Loader("loader", IMAGES, Training(batch=3, step_s=0.001, workers=7, prefetch=1)),
)


@pytest.fixture
def sides(tmp_path: Path) -> list[Side]:
    made = [cold_side(name, tmp_path / name) for name in ("disk", "tierfs")]
    for side in made:
        side.directory.mkdir()
    return made


@pytest.mark.parametrize("scenario", SCENARIOS, ids=["first", "whole", "loader", "one-each"])
def test_every_figure_is_measured_on_every_side(scenario: Scenario, sides: list[Side]) -> None:
    report = measure("t", [scenario], sides, Conditions(2))
    assert set(medians(report)) == {
        (figure.name, side.name) for figure in scenario.figures for side in sides
    }
    assert all(value > 0 for one in report.results for value in one.samples)
    assert report.remarks == ()


def test_four_of_five_files_are_small() -> None:
    sizes = mostly_small(1000).sizes()
    small = [size for size in sizes if size <= SMALL]
    assert len(small) == 800
    assert min(small) < 5 * KIB
    assert max(small) > 63 * KIB
    assert max(sizes) > 900 * KIB
    assert max(sizes) <= MIB


def test_the_order_is_that_of_the_seed_and_equal_on_all_sides(sides: list[Side]) -> None:
    first, second = (
        [(os.path.basename(file.path), file.size) for file in DATASET.ordered(side, 7)]
        for side in sides
    )
    assert first == second
    assert DATASET.ordered(sides[0], 8) != DATASET.ordered(sides[0], 7)


def test_a_data_set_is_found_again(sides: list[Side]) -> None:
    DATASET.provide(sides[0])
    path = DATASET.ordered(sides[0], 0)[0].path
    before = os.stat(path).st_mtime_ns
    DATASET.provide(sides[0])
    assert os.stat(path).st_mtime_ns == before


@pytest.mark.parametrize("read", [read_first, read_whole, waiting.decode])
def test_wrong_bytes_are_refused(read: object, sides: list[Side]) -> None:
    IMAGES.provide(sides[0])
    file = IMAGES.ordered(sides[0], 0)[0]
    assert callable(read)
    read(file)
    with open(file.path, "r+b") as opened:
        opened.write(b"other")
    with pytest.raises(DamageFound, match="not those that were written"):
        read(file)
    os.truncate(file.path, 50)
    with pytest.raises(DamageFound, match="50 bytes instead of"):
        read(file)


def test_the_wait_is_that_of_each_file() -> None:
    def read(file: File) -> None:
        time.sleep(file.size / 1000)

    waits = waits_for([File(b"", 5), File(b"", 50)], read)
    assert waits[0] >= 5
    assert waits[1] >= 50


def test_small_and_large_files_are_told_apart(
    sides: list[Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(files: Sequence[File], _read: object) -> list[float]:
        return [1.0 if file.size <= 64 * KIB else 10.0 for file in files]

    monkeypatch.setattr("tests.benchmarks.waiting.waits_for", waits)
    found = medians(measure("t", [whole_file(DATASET)], sides[:1], Conditions(1)))
    assert found[figure_name(WHOLE_WHAT, SMALL_MEAN), "disk"] == 1.0
    assert found[figure_name(WHOLE_WHAT, LARGE_MEAN), "disk"] == 10.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], 3.0), (list(range(1, 101)), 99), (list(range(1, 1001)), 990), ([5.0, 1.0], 5.0)],
)
def test_a_percentile_is_a_value_that_occurred(values: list[float], expected: float) -> None:
    assert percentile(values, 0.99) == expected


def test_batches_are_whole(sides: list[Side]) -> None:
    files = IMAGES.ordered(sides[0], 0)
    assert [len(batch) for batch in split(files, 4)] == [4, 4, 4]
    assert list(itertools.chain(*split(files, 4))) == files[:12]


def test_the_busy_share_is_that_of_the_steps(
    sides: list[Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading 20 ms an image with one worker cannot feed a step of 4 ms a batch of 2."""

    def slow(_file: File) -> int:
        time.sleep(0.02)
        return 0

    monkeypatch.setattr(waiting, "decode", slow)
    training = Training(batch=2, step_s=0.004, workers=1)
    found = medians(measure("t", [Loader("l", IMAGES, training)], sides[:1], Conditions(1)))
    assert found[BUSY, "disk"] <= 10.0
    assert found[RATE, "disk"] <= 50.0
    assert found[BUSY, "disk"] / found[RATE, "disk"] == pytest.approx(100 * 0.004 / 2)


def test_a_worker_reads_no_further_than_it_may(sides: list[Side]) -> None:
    IMAGES.provide(sides[0])
    lane = waiting.Lane(*multiprocessing.Pipe(duplex=False), multiprocessing.Semaphore(2))
    worker = Thread(target=waiting.load, args=(split(IMAGES.ordered(sides[0], 0), 2), lane))
    worker.start()
    try:
        assert [lane.receiving.recv() for _ in range(2)] == [2, 2]
        assert not lane.receiving.poll(0.2)
    finally:
        for _ in range(len(IMAGES.sizes())):
            lane.room.release()
        worker.join()
        lane.close()


def test_a_missing_image_ends_the_training(
    sides: list[Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "STALLED_S", 0.5)
    IMAGES.provide(sides[0])
    os.unlink(IMAGES.ordered(sides[0], 0)[0].path)
    training = Training(batch=2, step_s=0.001, workers=2, prefetch=1)
    with pytest.raises((OSError, TierfsError), match=r"No such file|has read no batch"):
        measure("t", [Loader("l", IMAGES, training)], sides[:1], Conditions(1))
