from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fsck.image import Image, made
from tests.support.fixtures import directory, make_mount, scratch
from tests.support.volumes import home, make_volume, small

__all__ = ["home", "make_mount", "make_volume", "scratch", "small"]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image that every test copies, and none may change."""
    with directory(tmp_path_factory.mktemp("fsck")) as path, made(path / "original") as image:
        yield image


@pytest.fixture
def image(original: Image, home: Path) -> Image:
    """A copy to harm."""
    return original.copy(home / "image")
