"""What ``tierfs status`` shows of a mount: it always answers, whatever hangs below."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from tierfs.common.errors import UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.connection import Connection
from tierfs.daemon.listener import Listener
from tierfs.daemon.options import MountOptions
from tierfs.fs.volume import TierName, Volume
from tierfs.metadata.usage import IndexUsage
from tierfs.storage.objects import Space

WAIT_S: Final = 0.3
"""How long a status waits for its answers; a late one is shown as last known."""
MAX_WAIT_S: Final = 60.0
SETTLE_S: Final = 2.0
SCRAPE_S: Final = 0.3
"""How long a scrape of the metrics waits for the answer of a tier."""

Record = dict[str, Any]


class Served(NamedTuple):
    """The parts of a daemon that a status shows."""

    volume: Volume
    connection: Connection
    options: MountOptions
    background: BackgroundTasks
    policy: Callable[[], Record | None]
    tiering: Callable[[], Record]
    backup: Callable[[], Record]
    scrub: Callable[[], Record]
    metrics: Listener | None
    event_loop: Callable[[], object]
    """Returns once the event loop has run a callback."""
    read_bytes: Callable[[], dict[str, int]]
    """Bytes that applications read from each tier since the mount."""


class Status:
    """Queries the tiers, the index and the engine, each in a thread of its own."""

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
            "backup": Probe(served.backup),
            "scrub": Probe(served.scrub),
            "event_loop": Probe(served.event_loop),
            "reads": Probe(served.read_bytes),
            "fast_path": Probe(lambda: None if fast_path is None else fast_path.status()),
        }

    def show(self, wait: object = WAIT_S) -> Record:
        """A record for JSON after ``wait`` seconds at most; sizes in bytes, times in seconds.

        Raises:
            UsageError: ``wait`` is not a number of seconds from 0 to 60.
        """
        if not isinstance(wait, int | float) or not 0 <= wait <= MAX_WAIT_S:
            raise UsageError(f"wait must be from 0 to {MAX_WAIT_S:g} seconds")
        for probe in self._probes.values():
            probe.begin()
        deadline = time.monotonic() + wait
        known = {name: probe.known(deadline) for name, probe in self._probes.items()}
        return self._record(known)

    def close(self) -> None:
        """Give queries under way a moment to end: what they use is closed next."""
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
            "changed_outside": len(volume.fs.shared.changed),
            "read_bytes": known["reads"].value,
            "log": None if settings.log.file is None else os.fspath(settings.log.file),
            "metrics": _metrics(settings.metrics_listen, served.metrics),
            "policy": known["policy"].value,
            "tiering": known["tiering"].value,
            "backup": known["backup"].value,
            "scrub": known["scrub"].value,
            "background": served.background.failing,
            "supervisor": served.connection.supervised and served.connection.supervised.status(),
            "late": {name: _late(one) for name, one in known.items() if not one.fresh},
        }


def watch_tiers(volume: Volume, metrics: Metrics) -> None:
    """Export the free space of the tiers, and whether they answer.

    Without reading their devices: a scrape every 15 seconds would keep a disk from spinning down.
    """
    tiers: tuple[TierName, ...] = ("flash", "disk")
    for tier in tiers:
        probe = Probe(partial(volume.probe, tier, device=False))
        metrics.watch_space(
            tier, partial(_bytes, probe, "capacity"), partial(_bytes, probe, "available")
        )
        metrics.watch_answers(tier, partial(_answers, probe))


def readiness(volume: Volume, event_loop: Callable[[], object]) -> Callable[[], str | None]:
    """What says why requests would wait or fail just now, and None when they would not."""
    probes: dict[str, Probe[Any]] = {
        "the flash directory": Probe(partial(volume.probe, "flash", device=False)),
        "the disk directory": Probe(partial(volume.probe, "disk", device=False)),
        "the daemon's event loop": Probe(event_loop),
    }

    def not_ready() -> str | None:
        for probe in probes.values():
            probe.begin()
        deadline = time.monotonic() + SCRAPE_S
        late = [name for name, probe in probes.items() if not probe.known(deadline).fresh]
        return f"no answer from {', '.join(late)}" if late else None

    return not_ready


def _bytes(probe: Probe[Space], field: Literal["capacity", "available"]) -> float:
    known = probe.ask(SCRAPE_S)
    fresh = known.value is not None and known.fresh
    return float(getattr(known.value, field)) if fresh else math.nan


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


# ------------------------------------------------------------------ probes

T = TypeVar("T")


class Known(NamedTuple, Generic[T]):
    """The state of a probe; times in seconds."""

    value: T | None
    """The last answer; None: there is none yet."""
    age: float | None
    """Age of ``value``."""
    waiting: float | None
    """For how long the present query has waited for its answer; None: it does not."""
    error: str | None
    """Why the last query failed; None: it did not, or has no answer yet."""

    @property
    def fresh(self) -> bool:
        """Whether ``value`` is the answer to the last query."""
        return self.waiting is None and self.error is None


class Probe(Generic[T]):
    """A query that may hang. One thread at most waits for its answer; the last answer is kept."""

    def __init__(self, query: Callable[[], T]) -> None:
        """``query`` may raise, or never return."""
        self._query = query
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._done.set()
        self._began_at = 0.0
        self._value: T | None = None
        self._answered_at: float | None = None
        self._error: str | None = None

    def begin(self) -> None:
        """Start the query, unless the last one still waits for its answer."""
        with self._lock:
            if not self._done.is_set():
                return
            self._done.clear()
            self._began_at = time.monotonic()
        try:
            threading.Thread(target=self._ask, name="tierfs-probe", daemon=True).start()
        except RuntimeError as error:  # no thread can be started
            self._error = str(error)
            self._done.set()

    def known(self, deadline: float) -> Known[T]:
        """The state once the query is answered, at ``deadline`` (time.monotonic) at the latest."""
        answered = self._done.wait(max(0.0, deadline - time.monotonic()))
        with self._lock:
            now = time.monotonic()
            return Known(
                self._value,
                None if self._answered_at is None else now - self._answered_at,
                None if answered else now - self._began_at,
                self._error if answered else None,
            )

    def ask(self, seconds: float) -> Known[T]:
        """``begin``, then the state after ``seconds`` at the latest."""
        self.begin()
        return self.known(time.monotonic() + seconds)

    def _ask(self) -> None:
        value, error = None, None
        try:
            value = self._query()
        except Exception as exc:  # noqa: BLE001 - it becomes the state
            error = str(exc) or type(exc).__name__
        with self._lock:
            if error is None:
                self._value, self._answered_at = value, time.monotonic()
            self._error = error
            self._done.set()


def settle(probes: Iterable[Probe[object]], seconds: float) -> None:
    """Wait until no query is under way, for ``seconds`` at most."""
    deadline = time.monotonic() + seconds
    for probe in probes:
        probe.known(deadline)
