from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.facts.workers import WorkerMaker
from tests.support.volumes import home, make_volume, small

__all__ = ["home", "make_volume", "make_worker", "small"]


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[WorkerMaker]:
    """Starts worker processes; ends them at the end."""
    maker = WorkerMaker(tmp_path)
    yield maker
    maker.close()
