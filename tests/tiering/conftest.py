from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.volumes import LooseVolume, home, make_volume, small
from tests.tiering.fake_world import Driver
from tests.tiering.on_volume import Tiered
from tierfs.metadata.index import IndexCatalog

__all__ = ["home", "make_volume", "small"]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


@pytest.fixture
def tiered(small: LooseVolume) -> Iterator[Tiered]:
    with closing(IndexCatalog(small.index)) as catalog:
        tiered = Tiered(small, catalog)
        yield tiered
        tiered.engine.stop()
