"""What a writer began, and what it was told of it: on a filesystem that no power cut concerns."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from tests.powercut.operations import Operation


class Entry(NamedTuple):
    """An operation and how it ended."""

    operation: Operation
    done: bool
    """Whether it returned success; else it failed, or the writer was ended in it."""
    result: int = 0
    """Of what made a file its inode number, of a sync of a file its mtime in ns; or an errno."""
    began: int = 0
    ended: int = 0
    """By the monotonic clock, which all processes share; nanoseconds."""


class Cut(NamedTuple):
    """When the filesystems were cut off; nanoseconds of the monotonic clock.

    What a sync that overlaps it answers means nothing: ext4 may answer that all is well.
    """

    began: int
    ended: int

    def overlaps(self, began: int, ended: int) -> bool:
        """Whether the power went while this was under way."""
        return began <= self.ended and ended >= self.began


class Journal:
    """Appends; nothing is buffered in the writer, which may be killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def begin(self, operation: Operation) -> None:
        """Note what comes next."""
        self._note({"at": time.monotonic_ns(), **asdict(operation)})

    def end(self, *, done: bool, result: int) -> None:
        """Note how it ended."""
        self._note({"at": time.monotonic_ns(), "done": done, "result": result})

    def _note(self, record: dict[str, object]) -> None:
        os.write(self._descriptor, json.dumps(record).encode() + b"\n")


def entries(path: Path, cut: Cut) -> Iterator[Entry]:
    """Every operation, in order; the last may have no end."""
    begun: tuple[Operation, int] | None = None
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if not line.endswith(b"\n"):
            break
        record = json.loads(line)
        at = record.pop("at")
        if "kind" in record:
            begun = Operation(**record), at
        elif begun is not None:
            done = record["done"] and not cut.overlaps(begun[1], at)
            yield Entry(begun[0], done, record["result"], begun[1], at)
            begun = None
    if begun is not None:
        yield Entry(begun[0], done=False)
