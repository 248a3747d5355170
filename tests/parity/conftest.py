"""The filesystems that the parity tests compare."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parity import places
from tests.parity.places import Native, Pair, pair, read_only_pair
from tests.support.fixtures import directory


@pytest.fixture(scope="session")
def shared_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair on which almost all cases run."""
    with directory(tmp_path_factory.mktemp("parity")) as path, pair(path / "pair") as made:
        yield made


@pytest.fixture(scope="session")
def read_only_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The pair that is mounted read-only."""
    with directory(tmp_path_factory.mktemp("parity")) as path, read_only_pair(path / "ro") as made:
        yield made


@pytest.fixture(scope="session")
def natives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Native]]:
    """Native filesystems for the cases in which they differ among themselves."""
    with (
        directory(tmp_path_factory.mktemp("parity")) as path,
        places.natives(path / "natives") as made,
    ):
        yield made
