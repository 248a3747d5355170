"""Answers that are of one moment, although others write to the index meanwhile.

They are first made on the index itself, and kept until they are complete. If a checkpoint came in
between they are made again on a copy, which nobody changes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from tierfs.common.errors import TierfsError
from tierfs.metadata.reader import copy_snapshot
from tierfs.metadata.wal import CheckpointSeqlockReader, settled_counters
from tierfs.query.stream import lines

T = TypeVar("T")

PLACE: Final = "/var/tmp"  # noqa: S108 - files without a name, and a private directory
IN_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of rows that are kept in memory."""
AT_ONCE: Final = 256 * 1024


class Rows:
    """Rows that are kept until they are known to be right."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=PLACE)  # noqa: SIM115 - closed by `close`

    def add(self, rows: Sequence[Any]) -> None:
        """Keep some more."""
        self._file.writelines(lines(rows))

    def clear(self) -> None:
        """Forget them."""
        self._file.seek(0)
        self._file.truncate()

    def close(self) -> None:
        """Forget them for good."""
        self._file.close()

    def pieces(self) -> Iterator[bytes]:
        """The rows as `lines`, some bytes at a time."""
        self._file.seek(0)
        while piece := self._file.read(AT_ONCE):
            yield piece


def of_one_moment(
    index: Path,
    checkpoints: int,
    answer: Callable[[Path, int, Rows], T],
    send: Callable[[bytes], object],
) -> T:
    """What ``answer`` returns; the rows that it adds go to ``send`` at the end, as lines of JSON.

    It is called with an index, the descriptor of its counters of checkpoints, and where rows go to.

    Raises:
        OSError: there is no room for a copy of the index.
        What ``answer`` raises.
    """
    rows = Rows()
    counters = CheckpointSeqlockReader(checkpoints)
    try:
        before = counters.settled
        result: T | None = None
        failure: TierfsError | None = None
        try:
            result = answer(index, checkpoints, rows)
        except TierfsError as error:
            failure = error  # or of pages that belong to two states
        if before is None or counters.settled != before:
            rows.clear()
            with _copied(index, checkpoints) as (copy, settled):
                result, failure = answer(copy, settled, rows), None
        if failure is not None:
            raise failure
        for piece in rows.pieces():
            send(piece)
    finally:
        counters.close()
        rows.close()
    return result  # type: ignore[return-value]


@contextmanager
def _copied(index: Path, checkpoints: int) -> Iterator[tuple[Path, int]]:
    with tempfile.TemporaryDirectory(prefix="tierfs-", dir=PLACE) as home:
        copy = Path(home) / index.name
        copy_snapshot(index, copy, checkpoints)
        descriptor = settled_counters()
        try:
            yield copy, descriptor
        finally:
            os.close(descriptor)
