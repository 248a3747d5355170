"""A SELECT on the views of the index: `tierfs sql`, in a process beside the daemon."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tierfs.metadata.views import SqlReader
from tierfs.query.settled import Rows, of_one_moment
from tierfs.query.stream import Stream

MEMORY: Final = 1 << 30
"""Bytes of address space of the process: SQLite has a quarter of it."""

AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class SqlRequest:
    """A statement for the ``index``, and how many seconds it may take."""

    index: Path
    statement: str
    seconds: float


def sql_to(request: SqlRequest, stream: int, checkpoints: int) -> dict[str, Any]:
    """Send the names of the columns, then the rows; in a process of its own.

    ``checkpoints`` is the descriptor that `Index.checkpoint_for_snapshot` returned.

    Raises:
        UsageError: the statement is wrong, reads something else, takes too long or too much memory.
        OSError: there is no room for a copy of the index.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    with closing(Stream(stream)) as client:
        total = of_one_moment(
            request.index,
            checkpoints,
            lambda index, counters, rows: select(request, index, counters, rows),
            client.send_lines,
        )
    return {"rows": total}


def select(request: SqlRequest, index: Path, checkpoints: int, rows: Rows) -> int:
    """Run the statement on an index, and keep its rows behind the names of the columns."""
    total = 0

    def take(columns: list[str], found: Iterator[tuple[Any, ...]]) -> None:
        nonlocal total
        rows.add([columns])
        while some := list(islice(found, AT_ONCE)):
            rows.add([_plain(row) for row in some])
            total += len(some)

    with closing(SqlReader(index, checkpoints, time.monotonic() + request.seconds)) as reader:
        reader.select(request.statement, take)
    return total


def _plain(row: Sequence[Any]) -> list[Any]:
    return [os.fsdecode(value) if isinstance(value, bytes) else value for value in row]
