from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faulty_os import FaultyOs
from tests.support.volumes import home
from tierfs.storage.objects import ObjectStore

__all__ = ["home"]


@pytest.fixture
def faulty() -> FaultyOs:
    """The operating system that the store calls."""
    return FaultyOs()


@pytest.fixture
def store(home: Path, faulty: FaultyOs) -> Iterator[ObjectStore]:
    """An empty store."""
    with contextlib.closing(ObjectStore("flash", home / "heads", faulty)) as opened:
        yield opened
