"""A native file in which a writer notes what it is about to do and what has returned success."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.operations import Operation

DONE = b"done\n"


class Journal:
    """Appends to the file; nothing is buffered in the writer, which may be killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def begin(self, operation: Operation) -> None:
        """Note the operation that comes next."""
        os.write(self._descriptor, json.dumps(asdict(operation)).encode() + b"\n")

    def succeed(self) -> None:
        """Note that the last operation has returned success."""
        os.write(self._descriptor, DONE)


def read_journal(path: Path) -> tuple[list[Operation], Operation | None]:
    """The operations that succeeded, in order, and the one that nobody knows about, if any."""
    finished: list[Operation] = []
    pending: Operation | None = None
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if line == DONE and pending:
            finished.append(pending)
            pending = None
        elif line.endswith(b"}\n"):
            pending = Operation(**json.loads(line))
    return finished, pending
