"""Every workload on small directories: what it makes, what it measures, what it leaves."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.benchmarks.changes import OPERATIONS, Changes, Ingest, Mixing, Overwrites, Writes
from tests.benchmarks.datasets import Dataset
from tests.benchmarks.reading import Epoch, Metadata, Stream, Walks
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.samples import cold_side, medians
from tests.benchmarks.scenario import Scenario, Side, work_directory
from tests.benchmarks.tree import Tree
from tierfs.common.errors import DamageFound, TierfsError
from tierfs.common.units import MIB

SMALL = Dataset(30, 100)
LABELLED = Dataset(30, 100, labelled=True)
WORKLOADS: Sequence[Scenario] = (
    Epoch(SMALL),
    Epoch(SMALL, readers=4),
    Metadata(LABELLED),
    Walks(SMALL),
    Stream(MIB),
    Ingest(20, 100),
    Ingest(20, 100, writers=3),
    *(Changes(name, 20) for name in OPERATIONS),
    Overwrites(MIB, 20),
    Writes(2 * MIB),
    Mixing(1, 200),
    Mixing(3, 200),
    Tree("tree", 40),
    Tree("cold tree", 40, cold=True),
)


@pytest.fixture
def sides(tmp_path: Path) -> list[Side]:
    made = [cold_side(name, tmp_path / name) for name in ("native", "tierfs")]
    for side in made:
        side.directory.mkdir()
    return made


@pytest.mark.parametrize("workload", WORKLOADS, ids=repr)
def test_every_figure_is_measured_on_every_side(workload: Scenario, sides: list[Side]) -> None:
    report = measure("t", [workload], sides, Conditions(2))
    assert set(medians(report)) == {
        (figure.name, side.name) for figure in workload.figures for side in sides
    }
    assert all(value > 0 for one in report.results for value in one.samples)
    assert {len(one.samples) for one in report.results} == {2}
    assert report.remarks == ()


def left(side: Side) -> set[str]:
    return set(os.listdir(work_directory(side)))


def test_what_is_read_stays_for_the_next_run(sides: list[Side]) -> None:
    measure("t", [Epoch(SMALL), Stream(MIB)], sides, Conditions(1))
    assert left(sides[0]) == {SMALL.name, f"stream-{MIB}.bin"}


def test_what_is_written_does_not_stay(sides: list[Side]) -> None:
    small: list[Scenario] = [Ingest(20, 100), Changes("rename", 20), Mixing(2)]
    large: list[Scenario] = [Overwrites(MIB, 5), Writes(MIB), Tree("tree", 20)]
    measure("t", small + large, sides, Conditions(1))
    assert left(sides[0]) == set()


def test_one_and_several_writers_do_not_meet(sides: list[Side]) -> None:
    both = [Ingest(20, 100), Ingest(20, 100, writers=8, name="eight")]
    assert len(measure("t", both, sides, Conditions(2)).results) == 2 * 2 * 2


def test_an_archive_is_unpacked_as_it_is(sides: list[Side], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with tarfile.open(tmp_path / "given.tar", "w") as archive:
        archive.add(tmp_path / "file", "in/file")
    Tree("tree", archive=tmp_path / "given.tar").prepare(sides[0])
    assert (tmp_path / "tree.source" / "in" / "file").read_bytes() == b"content"


def test_a_program_that_fails_is_told(sides: list[Side], tmp_path: Path) -> None:
    (tmp_path / "given.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(TierfsError, match=r"^tar -xf .* ended with 2"):
        Tree("tree", archive=tmp_path / "given.tar").prepare(sides[0])


def test_peers_over_the_same_directory_do_not_meet(tmp_path: Path) -> None:
    same = [cold_side("a", tmp_path), cold_side("b", tmp_path)]
    report = measure("t", [Ingest(20, 100), Epoch(SMALL)], same, Conditions(2))
    assert len(report.results) == 12


def test_a_filesystem_without_xattrs_is_measured_without(sides: list[Side]) -> None:
    # A data set of that name without labels: what such a filesystem would have been given.
    plain = Dataset(30, 100)
    plain.provide(sides[0])
    root = plain.root(sides[0]).rename(LABELLED.root(sides[0]))
    manifest = root / "dataset.json"
    manifest.write_text(manifest.read_text().replace("false", "true"))
    report = measure("t", [Metadata(LABELLED)], sides[:1], Conditions(1))
    figures = {one.figure.name for one in report.results}
    assert {name for name in figures if "processor" not in name} == {"first lookup", "stat again"}
    assert len(report.remarks) == 4


def test_a_file_that_changed_is_refused(sides: list[Side]) -> None:
    epoch = Epoch(SMALL)
    for side in sides:
        epoch.prepare(side)
    # The last of its directory's listing is not looked at when the data set is found again.
    directory = SMALL.root(sides[1]) / "00000"
    os.truncate(directory / os.listdir(directory)[-1], 99)
    with pytest.raises(DamageFound, match="99 bytes instead of 100"):
        measure("t", [epoch], sides, Conditions(1))


def test_an_interrupted_stream_is_made_again(sides: list[Side]) -> None:
    stream, side = Stream(MIB), sides[0]
    work_directory(side).mkdir()
    (work_directory(side) / f"stream-{MIB}.bin").write_bytes(b"too short")
    stream.prepare(side)
    assert (work_directory(side) / f"stream-{MIB}.bin").stat().st_size == MIB


def test_no_room_for_what_is_written(sides: list[Side]) -> None:
    with pytest.raises(TierfsError, match="1,000,000,000 files of 1MiB need"):
        measure("t", [Ingest(10**9, MIB)], sides, Conditions(1))
