"""The filesystems that the parity tests compare."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parity import places
from tests.parity.places import Native, Trio, read_only_trio, trio
from tests.support.fixtures import directory


@pytest.fixture(scope="session")
def shared_trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """The filesystems on which almost all cases run."""
    with directory(tmp_path_factory.mktemp("parity")) as path, trio(path / "rw") as made:
        yield made


@pytest.fixture(scope="session")
def shared_read_only_trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """The same, mounted read-only."""
    with directory(tmp_path_factory.mktemp("parity")) as path, read_only_trio(path / "ro") as made:
        yield made


@pytest.fixture(scope="session")
def natives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Native]]:
    """Native filesystems for the cases in which they differ among themselves."""
    with (
        directory(tmp_path_factory.mktemp("parity")) as path,
        places.natives(path / "natives") as made,
    ):
        yield made
