"""A small tree on a mount that is not there, and what a command line says of it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.cli.fake_mount import FakeMount, mounted_on
from tierfs.cli.main import main

SMALL, LARGE = 10_240, 1024**2


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files, a level apart, and one of each thing that is left alone."""
    root = tmp_path / "mnt"
    (root / "in").mkdir(parents=True)
    (root / "small").write_bytes(bytes(SMALL))
    (root / "in/large").write_bytes(bytes(LARGE))
    (root / "link").symlink_to("small")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def fake(tree: Path) -> Iterator[FakeMount]:
    with mounted_on(tree) as mount:
        yield mount


@pytest.fixture
def small(tree: Path) -> bytes:
    return os.fsencode(tree / "small")


@pytest.fixture
def large(tree: Path) -> bytes:
    return os.fsencode(tree / "in/large")


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """Standard input that holds a list."""
    pieces = io.BytesIO(data)
    with patch("tierfs.cli.files._read_input", lambda: pieces.read(7)):
        yield


class Captured:
    """What a command line gave."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: object) -> None:
        self.code = main(
            [os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in words]
        )
        self.out, self.err = capsys.readouterr()
