import os
from collections.abc import Iterator

import pytest

from tests.support.fixtures import make_mount, mounted, place, scratch, shared_volume

__all__ = ["make_mount", "mounted", "place", "scratch", "shared_volume"]


@pytest.fixture(autouse=True)
def _whole_modes() -> Iterator[None]:
    """The model knows no umask: the mode that is asked for is the mode of the file."""
    before = os.umask(0)
    yield
    os.umask(before)
