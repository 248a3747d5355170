"""What ``tierfs status`` shows of a mount: always, whatever hangs below it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from tierfs.common.errors import UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon.connection import Connection
from tierfs.daemon.listener import Listener
from tierfs.daemon.options import MountOptions
from tierfs.daemon.probes import Known, Probe, settle
from tierfs.daemon.supervision import Supervisor
from tierfs.fs.volume import TierName, Volume
from tierfs.metadata.usage import IndexUsage
from tierfs.storage.objects import Space

PATIENCE_S: Final = 0.3
"""How long a status waits for what it asks for; what is late then is shown as last known."""
MOST_PATIENCE_S: Final = 60.0
SETTLE_S: Final = 2.0
SCRAPE_S: Final = 0.3
"""How long a scrape of the metrics waits for each answer of a tier."""

Record = dict[str, Any]


class Served(NamedTuple):
    """What of a daemon a status is about."""

    volume: Volume
    connection: Connection
    options: MountOptions
    background: Supervisor
    policy: Callable[[], Record | None]
    tiering: Callable[[], Record]
    metrics: Listener | None
    event_loop: Callable[[], object]
    """Returns when the event loop, which answers most requests, has come round."""


class Status:
    """Asks the tiers, the index and the engine, each in a thread of its own."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._started = time.monotonic()
        volume, fast_path = served.volume, served.connection.fast_path
        self._probes: dict[str, Probe[Any]] = {
            "flash": Probe(lambda: volume.probe("flash", device=True)),
            "disk": Probe(lambda: volume.probe("disk", device=True)),
            "counts": Probe(volume.index.usage),
            "index": Probe(volume.index.size),
            "policy": Probe(served.policy),
            "tiering": Probe(served.tiering),
            "event_loop": Probe(served.event_loop),
            "fast_path": Probe(lambda: None if fast_path is None else fast_path.status()),
        }

    def show(self, wait: object = PATIENCE_S) -> Record:
        """A record for JSON after ``wait`` seconds at most; sizes in bytes, times in seconds.

        Raises:
            UsageError: ``wait`` is no number of seconds from 0 to 60.
        """
        if not isinstance(wait, int | float) or not 0 <= wait <= MOST_PATIENCE_S:
            raise UsageError(f"wait must be from 0 to {MOST_PATIENCE_S:g} seconds")
        for probe in self._probes.values():
            probe.begin()
        deadline = time.monotonic() + wait
        known = {name: probe.known(deadline) for name, probe in self._probes.items()}
        return self._record(known)

    def close(self) -> None:
        """Give questions that are under way a moment: what they ask is closed next."""
        settle(self._probes.values(), SETTLE_S)

    def _record(self, known: dict[str, Known[Any]]) -> Record:
        served, volume = self._served, self._served.volume
        settings = volume.settings
        counts: IndexUsage | None = known["counts"].value
        return {
            "volume": os.fspath(settings.path),
            "uuid": str(volume.uuid),
            "mountpoint": os.fspath(served.connection.mountpoint),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "options": list(served.options.shown),
            "fast_path": known["fast_path"].value,
            "head": settings.head,
            "tiers": {
                "flash": {
                    **_tier(settings.flash, known["flash"]),
                    "files": counts and counts.flash_files,
                    "bytes": counts and counts.flash_bytes,
                },
                "disk": {
                    **_tier(settings.disk, known["disk"]),
                    "files": counts and counts.disk_files,
                    "bytes": counts and counts.disk_bytes,
                },
            },
            "index": {
                "path": os.fspath(settings.index),
                "bytes": known["index"].value,
                "inodes": counts and counts.inodes,
            },
            "flash_only": counts and {"files": counts.alone_files, "bytes": counts.alone_bytes},
            "log": None if settings.log.file is None else os.fspath(settings.log.file),
            "metrics": _metrics(settings.metrics_listen, served.metrics),
            "policy": known["policy"].value,
            "tiering": known["tiering"].value,
            "background": served.background.failing,
            "late": {name: _late(one) for name, one in known.items() if not one.fresh},
        }


def watch_tiers(volume: Volume, metrics: Metrics) -> None:
    """Export what the tiers answer; a scrape waits a moment for one that hangs.

    Their devices are not read for it: a scrape every 15 seconds would keep a disk from its rest.
    """
    tiers: tuple[TierName, ...] = ("flash", "disk")
    for tier in tiers:
        probe = Probe(partial(volume.probe, tier, device=False))
        metrics.watch_space(tier, partial(_free, probe))
        metrics.watch_answers(tier, partial(_answers, probe))


def _free(probe: Probe[Space]) -> float:
    known = probe.ask(SCRAPE_S)
    return known.value.available if known.value is not None and known.fresh else math.nan


def _answers(probe: Probe[Space]) -> bool:
    return probe.ask(SCRAPE_S).fresh


def _tier(directory: Path, known: Known[Space]) -> Record:
    space = known.value
    return {
        "directory": os.fspath(directory),
        "answers": known.fresh,
        "error": known.error,
        "read_only": space and space.read_only,
        "capacity": space and space.capacity,
        "free": space and space.available,
    }


def _metrics(listen: tuple[str, int] | None, listener: Listener | None) -> Record | None:
    if listen is None or listener is None:
        return None
    host, port = listen
    return {"listen": f"{host}:{port}", **listener.state._asdict()}


def _late(known: Known[Any]) -> Record:
    def rounded(seconds: float | None) -> float | None:
        return None if seconds is None else round(seconds, 1)

    return {
        "age_s": rounded(known.age),
        "waiting_s": rounded(known.waiting),
        "error": known.error,
    }
