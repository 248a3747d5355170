from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.faulty_os import FaultyOs
from tests.support.volumes import home
from tierfs.common.metrics import Metrics
from tierfs.common.osio import Os
from tierfs.metadata.index import DEFAULT_CACHE_ENTRIES, Index
from tierfs.metadata.reader import IndexReader

__all__ = ["home"]


class OpenIndex(Protocol):
    """Opens the one index of a test, as often as it wants."""

    def __call__(self, os_: Os | None = None, cache_entries: int = DEFAULT_CACHE_ENTRIES) -> Index:
        """``cache_entries``: inodes kept in memory."""


@pytest.fixture
def open_index(home: Path) -> Iterator[OpenIndex]:
    """Opens the index; what a test leaves open is closed."""
    with contextlib.ExitStack() as stack:

        def opened(os_: Os | None = None, cache_entries: int = DEFAULT_CACHE_ENTRIES) -> Index:
            index = Index(home / "index.db", os_ or FaultyOs(), Metrics(), cache_entries)
            stack.callback(index.close)
            return index

        yield opened


@pytest.fixture
def index(open_index: OpenIndex) -> Index:
    """An empty index."""
    return open_index()


@pytest.fixture
def reader(index: Index) -> Iterator[IndexReader]:
    """Reads the index beside it."""
    with contextlib.closing(IndexReader(index.path)) as made:
        yield made
