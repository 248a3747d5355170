"""A data loader: several processes read many files in random order, epoch after epoch."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from pathlib import Path

import pytest

from tests.programs import loader
from tests.support.places import Place
from tests.support.proc import run

IMAGES = int(os.environ.get("TIERFS_LOADER_IMAGES", "300"))
WORKERS = 4
EPOCHS = 2
SIZES = (0, 4096, 20_000, 65_536, 100_000, 400_000)


def make_images(folder: Path) -> list[tuple[str, str]]:
    """Write the images; return the names with the digests of what was written."""
    folder.mkdir()
    chance = random.Random(3)
    images = []
    for number in range(IMAGES):
        path = folder / f"cell-{number:05}.tif"
        data = chance.randbytes(SIZES[number % len(SIZES)])
        path.write_bytes(data)
        images.append((str(path), hashlib.sha256(data).hexdigest()))
    return images


def load(names: list[str]) -> list[str]:
    """The digest of every epoch."""
    program = [sys.executable, loader.__file__, str(WORKERS), str(EPOCHS)]
    return run(program, stdin="\n".join(names), timeout=110).stdout.split()


def test_epochs_read_what_was_written(place: Place) -> None:
    images = make_images(place.path / "images")
    place.remount()
    expected = hashlib.sha256(repr(sorted(images)).encode()).hexdigest()
    assert load([name for name, _ in images]) == [expected] * EPOCHS


def test_loader_fails_when_a_file_is_gone(scratch: Path) -> None:
    with pytest.raises(AssertionError, match="FileNotFoundError"):
        load([str(scratch / "nothing.tif")])
