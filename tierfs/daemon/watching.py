"""What ``tierfs top`` and ``tierfs profile`` ask for again and again while they run."""

from __future__ import annotations

import time
from typing import Any

from tierfs.common.metrics import Metrics
from tierfs.daemon.attribution import Attribution
from tierfs.daemon.metrics import counted
from tierfs.daemon.native import FastPath
from tierfs.tiering.mover import Mover


class Watching:
    """The control verb ``watch``. Thread-safe."""

    def __init__(
        self,
        attribution: Attribution,
        mover: Mover,
        metrics: Metrics,
        fast_path: FastPath | None,
    ) -> None:
        self._attribution = attribution
        self._mover = mover
        self._metrics = metrics
        self._native = None if fast_path is None else fast_path.counters

    def watch(
        self,
        watcher: str = "",
        rows: bool = False,  # noqa: FBT001, FBT002 - by name, from JSON
        files: bool = False,  # noqa: FBT001, FBT002 - likewise
        session: int = 0,
        end: bool = False,  # noqa: FBT001, FBT002 - likewise
    ) -> dict[str, Any]:
        """Counters, and with ``rows`` what was attributed since the last time; for JSON.

        ``watcher``: "" to begin, then the name in the answer, at least every ten seconds.
        ``files``: also what was read from disk by processes of ``session`` (0 for all), by
        directory.

        ``end``: this was the last time.

        Raises:
            UsageError: as `Attribution.renew`.
        """
        attribution, mover = self._attribution, self._mover
        watcher = attribution.renew(watcher)
        shown = {
            "watcher": watcher,
            "at": time.monotonic(),
            "counters": counted(self._metrics, self._native),
            "moves": {"under_way": mover.moving, "waiting": sum(mover.queue.waiting().values())},
            "attributes_requests": self._native is not None,
        }
        if rows:
            shown |= attribution.take(watcher, files=files, session=session)
        if end:
            attribution.end(watcher)
        return shown
