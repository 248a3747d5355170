from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from tests.benchmarks.datasets import LABEL, MANIFEST, Dataset
from tests.benchmarks.samples import cold_side
from tests.benchmarks.scenario import Side
from tierfs.common.errors import TierfsError

DATASET = Dataset(450, 100)


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return cold_side("a", tmp_path)


def contents(side: Side, dataset: Dataset) -> dict[str, bytes]:
    root = dataset.root(side)
    return {name: (root / name).read_bytes() for name in dataset.names()}


def test_files_are_made_and_all_different(side: Side) -> None:
    DATASET.provide(side)
    found = contents(side, DATASET)
    assert {len(data) for data in found.values()} == {100}
    assert len(set(found.values())) == 450


def test_they_lie_in_one_directory_that_users_can_delete(side: Side) -> None:
    DATASET.provide(side)
    assert os.listdir(side.directory) == ["tierfs-bench"]


def test_a_second_run_finds_them(side: Side) -> None:
    DATASET.provide(side)
    before = [path.stat().st_ino for path in DATASET.root(side).rglob("*.bin")]
    DATASET.provide(side)
    assert [path.stat().st_ino for path in DATASET.root(side).rglob("*.bin")] == before


def lose_one(root: Path) -> None:
    (root / "00001" / "0000222.bin").unlink()


def shorten_a_directory(root: Path) -> None:
    for path in (root / "00001").iterdir():
        os.truncate(path, 99)


def lose_the_manifest(root: Path) -> None:
    (root / MANIFEST).unlink()


def change_the_manifest(root: Path) -> None:
    (root / MANIFEST).write_text(json.dumps({"files": 450, "size": 99, "labelled": False}))


def break_the_manifest(root: Path) -> None:
    (root / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    "harm",
    [lose_one, shorten_a_directory, lose_the_manifest, change_the_manifest, break_the_manifest],
)
def test_what_does_not_match_is_made_again(side: Side, harm: Callable[[Path], None]) -> None:
    DATASET.provide(side)
    before = contents(side, DATASET)
    harm(DATASET.root(side))
    DATASET.provide(side)
    assert contents(side, DATASET) == before


def test_labels_are_set_where_they_can_be(side: Side) -> None:
    labelled = Dataset(3, 0, labelled=True)
    labelled.provide(side)
    assert labelled.has_labels(side)
    assert os.listxattr(labelled.root(side) / next(labelled.names())) == [LABEL]
    assert not DATASET.has_labels(side)


def test_the_order_is_random_and_the_same_for_a_seed(side: Side) -> None:
    one, again, other = (DATASET.ordered(side, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert sorted(one) == sorted(other)
    assert one != sorted(one)


class Room(NamedTuple):
    """What statvfs(3) tells of a filesystem."""

    f_bavail: int
    f_favail: int
    f_files: int = 1000
    f_frsize: int = 4096


def test_too_little_space_is_refused_before_anything_is_written(side: Side) -> None:
    with (
        patch("os.statvfs", return_value=Room(f_bavail=10, f_favail=1000)),
        pytest.raises(TierfsError, match=r"has 40KiB free, and 450 files of 100B need 2025KiB"),
    ):
        DATASET.provide(side)
    assert os.listdir(side.directory) == []


def test_too_few_inodes_are_refused(side: Side) -> None:
    with (
        patch("os.statvfs", return_value=Room(f_bavail=10**6, f_favail=449)),
        pytest.raises(TierfsError, match="449 inodes free, and 450 files are to be made"),
    ):
        DATASET.provide(side)


def test_a_directory_that_cannot_be_written_is_told(side: Side) -> None:
    with (
        patch("pathlib.Path.mkdir", side_effect=OSError(30, "Read-only file system")),
        pytest.raises(TierfsError, match="450x100 cannot be made: Read-only file system"),
    ):
        DATASET.provide(side)
