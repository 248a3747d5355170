"""The index as it was at the last checkpoint, read by another process than the daemon."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from tierfs.common.errors import IndexFailed
from tierfs.metadata.folds import FoldsSeen
from tierfs.metadata.survey import PRAGMAS, Survey

T = TypeVar("T")

_PAUSE_S: Final = 0.01
_CACHE: Final = "PRAGMA cache_size = -65536"  # 64 MiB


class FoldedIndex(Survey):
    """A survey of the database file alone. Read only inside `steadily`."""

    def __init__(self, path: Path, folds: FoldsSeen) -> None:
        self._path = path
        self._folds = folds
        self._seen = folds.settled
        super().__init__(path)

    def steadily(self, read: Callable[[], T], /) -> T:
        """What ``read`` returns, read in one state of the file: it is called again until it is.

        Raises:
            IndexFailed: the file cannot be read, or is damaged.
        """
        while True:
            settled = self._folds.settled
            if settled is None:
                time.sleep(_PAUSE_S)
                continue
            if settled != self._seen:
                self._reopen()
                self._seen = settled
            try:
                result = read()
            except IndexFailed:  # or of pages that belong to two states
                if self._folds.settled == settled:
                    raise
            else:
                if self._folds.settled == settled:
                    return result
            self._seen = None

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?immutable=1",
            uri=True,
            isolation_level=None,
            cached_statements=256,
        )
        for pragma in (*PRAGMAS, _CACHE):
            connection.execute(pragma)
        return connection

    def _reopen(self) -> None:
        """What SQLite keeps of an immutable file, it believes for ever."""
        self.close()
        self.open(self._path)
