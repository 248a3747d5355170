"""Questions about all files: the control verbs of `tierfs find`.

Each is answered by a worker process of low priority, which sends rows to the client by itself. That
of a find stays a while for the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from tierfs.common.errors import FsError, UsageError, VolumeRefused
from tierfs.common.times import system_clock
from tierfs.daemon.worker import Passed
from tierfs.daemon.workers import Workers, run_in_worker
from tierfs.fs.volume import Volume
from tierfs.query.columns import columns_of
from tierfs.query.compiling import compiled
from tierfs.query.find import FindRequest, find_to
from tierfs.query.sql import SqlRequest, sql_to
from tierfs.tiering.engine import Engine

LONGEST_S: Final = 3600
"""Of a statement."""

OF_READS: Final = frozenset({"heat", "idle"})
"""Fields for which the process is given what is known of reads."""


class Finding:
    """The verbs of a mount."""

    def __init__(self, volume: Volume, engine: Engine) -> None:
        self._volume = volume
        self._index = volume.index
        self._engine = engine
        self._workers = Workers()

    def find(  # noqa: PLR0913 - what can be asked for
        self,
        stream: int,
        expression: str,
        top: int,
        columns: list[str],
        sort: str,
        group_by: str,
        limit: int,
        *,
        descending: bool,
        count: bool,
        explain: bool,
        consistent: bool,
    ) -> dict[str, Any]:
        """What an expression holds for; ``stream``: the connection that rows are sent to.

        Raises:
            BadExpression: the expression is none.
            UsageError: there is no such field, or too much would have to be kept.
            FsError: the index could not be read.
        """
        if limit < 0:
            raise UsageError("the limit must be 0 or more")
        now = system_clock()
        compiled(expression, now)  # a mistake needs no process
        columns_of([*columns, *([sort] if sort else []), *([group_by] if group_by else [])])
        heat = b""
        if any(
            field in text for field in OF_READS for text in (expression, sort, group_by, *columns)
        ):
            heat = self._engine.known_reads()
        request = FindRequest(
            index=self._index.path,
            now=now,
            expression=expression,
            top=top,
            columns=tuple(columns),
            sort=sort,
            descending=descending,
            limit=limit,
            count=count,
            explain=explain,
            consistent=consistent,
            group_by=group_by,
            heat=heat,
            heat_capacity=self._engine.heat_capacity,
        )
        if consistent and not self._volume.read_only:
            # Else one might soon be due, and what was read before it would be read again.
            with suppress(FsError, OSError, VolumeRefused):
                self._volume.checkpoints.make_ahead()
        return self._answer(self._workers.run, find_to, request, stream)

    def sql(self, stream: int, statement: str, limit_s: int) -> dict[str, Any]:
        """The rows of a SELECT on the views, behind the names of its columns.

        Raises:
            UsageError: it is wrong, or would take too much.
            FsError: the index could not be read.
        """
        if not 0 < limit_s <= LONGEST_S:
            raise UsageError(f"the time must be 1 to {LONGEST_S} seconds")
        # In a process of its own: the limits of a statement are those of its process.
        request = SqlRequest(self._index.path, statement, limit_s)
        return self._answer(run_in_worker, sql_to, request, stream)

    def close(self) -> None:
        """End the process that waits for another find."""
        self._workers.close()

    def _answer(
        self,
        run: Callable[..., dict[str, Any]],
        function: Callable[..., dict[str, Any]],
        request: FindRequest | SqlRequest,
        stream: int,
    ) -> dict[str, Any]:
        """Let a process answer a question."""
        snapshot = Passed(self._index.checkpoint_for_snapshot())
        return run(
            function,
            request,
            Passed(stream),
            snapshot,
            cancelled=lambda: self._engine.stopping,
        )
