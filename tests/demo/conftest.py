"""A small source and its copy in plain directories: no mount is needed to compare them."""

from __future__ import annotations

import io
import os
import subprocess
import time
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
import xattr
from rich.console import Console

from tierfs.demo.trees import Tree
from tierfs.demo.ui import Ui


@dataclass(frozen=True)
class Copied:
    """A tree, its copy, and the moment at which copying began."""

    tree: Tree
    target: Path
    since_ns: int


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder" / "sub").mkdir(parents=True)
    (source / "folder" / "large").write_bytes(bytes(range(256)) * 8192)
    (source / "folder" / "empty").write_bytes(b"")
    (source / "folder" / "sub" / os.fsdecode(b"not UTF-8 \xff")).write_bytes(b"name")
    (source / "folder" / "link").symlink_to("large//x")
    (source / "one").write_bytes(b"twins")
    (source / "two").hardlink_to(source / "one")
    (source / "like one").write_bytes(b"twins")
    xattr.setxattr(str(source / "one"), "user.tag", b"cell")
    xattr.setxattr(str(source / "folder"), "user.plate", b"7")
    os.mkfifo(source / "fifo")
    subprocess.run(["cp", "-a", source, target], check=True, timeout=60)
    # Clocks of files tick more coarsely than the one that is read here.
    time.sleep(0.02)
    return Copied(Tree.whole("tree", source), target, time.time_ns())


@pytest.fixture(scope="session")
def process_tracker() -> None:
    """Start what multiprocessing leaves running, so that no single test seems to leak it."""
    resource_tracker.ensure_running()


class Recorder(Ui):
    """Writes to memory; `text` is what a person without a terminal would see."""

    def __init__(self, *, terminal: bool = False) -> None:
        self.buffer = io.StringIO()
        super().__init__(
            Console(file=self.buffer, width=100, force_terminal=terminal, highlight=False)
        )

    @property
    def text(self) -> str:
        return self.buffer.getvalue()


@pytest.fixture
def ui() -> Recorder:
    return Recorder()
