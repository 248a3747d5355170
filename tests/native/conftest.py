"""Fixtures of the router's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native.functions import Functions
from tests.native.rig import Rig
from tests.support.fixtures import scratch

__all__ = ["scratch"]


@pytest.fixture
def functions() -> Functions | None:
    """What the router calls, if anything; without it all is forwarded."""
    return None


@pytest.fixture
def rig(scratch: Path, functions: Functions | None) -> Iterator[Rig]:
    """A router whose objects lie in memory, after INIT.

    One worker: requests are dealt with in the order in which they are made.
    """
    with Rig(scratch, workers=1, functions=functions) as made:
        made.initialise()
        yield made
    made.forget()


@pytest.fixture
def slow_rig(tmp_path: Path, functions: Functions | None) -> Iterator[Rig]:
    """A router whose objects lie on a disk, as far as it knows."""
    with Rig(tmp_path, workers=1, functions=functions) as made:
        made.initialise()
        yield made
    made.forget()
