"""Ask an index that nobody has open, in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from tierfs.query.find import FindRequest
from tierfs.query.find import answer as answer_of

COUNTERS = 16


@contextmanager
def settled() -> Iterator[int]:
    """The descriptor of counters that say that no checkpoint is made."""
    descriptor = os.memfd_create("settled")
    try:
        os.ftruncate(descriptor, COUNTERS)
        yield descriptor
    finally:
        os.close(descriptor)


def ask(
    index: Path,
    now: int,
    expression: str,
    **options: Any,  # noqa: ANN401 - of a request
) -> list[list[Any]]:
    """The rows that are found."""
    found: list[list[Any]] = []
    request = FindRequest(index=index, now=now, expression=expression, **options)
    with settled() as counters:
        answer = answer_of(request, index, counters, lambda rows: found.extend(map(list, rows)))
    if "rows" in answer:
        assert answer["rows"] == len(found)
        return found
    return [[answer.get("count", answer.get("explanation"))]]


def whole_numbers(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a Parquet table, with times in nanoseconds."""
    for number, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(number, field.name, table.column(number).cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
