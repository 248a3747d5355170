"""Who waits for which tier, and where: what ``tierfs top`` and ``tierfs profile`` watch.

The router attributes requests to threads and directories while somebody watches
(``native/src/attribution.c``). A `Watch` adds up what one watcher has not been told yet. Who stops
asking is forgotten after ``LEASE_S``, so a watcher that was killed costs no longer than that.

What the mover waits for is attributed to the daemon's own process.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tierfs.common.errors import UsageError
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.inodes import Inode
from tierfs.metadata.reader import IndexReader
from tierfs.tiering.ports import Migrator

if TYPE_CHECKING:
    from tierfs.daemon.native import FastPath
    from tierfs.native._router import Attributed

LEASE_S: Final = 10.0
"""How long a watcher is remembered that does not ask."""

MOST_WATCHERS: Final = 8
MOST_ROWS: Final = 20_000
"""Rows of one watcher; beyond them files and processes are not told apart any more."""
MOST_FILES: Final = 200_000
"""Files read from disk that one watcher knows; 100 bytes each."""
MOST_THREADS: Final = 1000
"""Threads of one process that are counted."""
BATCH: Final = 4096
"""Inodes in one query of the index."""

Record = dict[str, Any]


class Life(NamedTuple):
    """Of a thread: its first request and its last reply, by time.monotonic()."""

    began: float
    ended: float
    on_disk: bool
    """Whether it waited for the disk."""


class Key(NamedTuple):
    """What is told apart."""

    process: int
    """0: of another PID namespace, or one of too many."""
    request: str
    """A request of the router, or what the mover did: promote, demote or mirror."""
    tier: str
    directory: int
    """0: not known, then ``file`` may say it."""
    file: int


class Sums:
    """What was added up under a key; times in seconds."""

    __slots__ = ("bytes", "requests", "seconds", "waited")

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self.seconds = self.waited = 0.0

    def add(self, requests: int, nbytes: int, seconds: float, waited: float) -> None:
        """Add to each."""
        self.requests += requests
        self.bytes += nbytes
        self.seconds += seconds
        self.waited += waited


class Process:
    """What is known of a process that waited."""

    __slots__ = ("name", "session", "threads")

    def __init__(self) -> None:
        self.name: str | None = None
        self.session = 0
        self.threads: dict[int, Life] = {}

    def note(self, thread: int, session: int, name: str, life: Life) -> None:
        """One of its threads waited; 0 and "" are not known."""
        self.name, self.session = name or self.name, session or self.session
        known = self.threads.get(thread)
        if known is None and len(self.threads) < MOST_THREADS:
            self.threads[thread] = life
        elif known is not None:
            self.threads[thread] = Life(
                min(known.began, life.began),
                max(known.ended, life.ended),
                known.on_disk or life.on_disk,
            )

    def shown(self) -> Record:
        """For JSON. ``disk_threads`` waited for the disk, and lived ``disk_lived`` seconds in all.

        Seconds between the first request and the last reply, that is.
        """
        disk = [life for life in self.threads.values() if life.on_disk]
        return {
            "name": self.name,
            "session": self.session,
            "threads": len(self.threads),
            "disk_threads": len(disk),
            "disk_lived": sum(life.ended - life.began for life in disk),
        }


class Watch:
    """What one watcher has not been told yet. Bounded; not thread-safe."""

    def __init__(self) -> None:
        self.until = 0.0
        self.rows: defaultdict[Key, Sums] = defaultdict(Sums)
        self.processes: defaultdict[int, Process] = defaultdict(Process)
        self.files: defaultdict[tuple[int, int], Sums] = defaultdict(Sums)
        """Files read from disk, by process."""
        self.untold_reads = 0
        """Reads from disk of files beyond ``MOST_FILES``."""

    def add(self, key: Key, sums: tuple[int, int, float, float]) -> None:
        """Add a row, as exact as there is room for."""
        if key.request == "read" and key.tier == "disk" and key.file:
            read = key.process, key.file
            if read in self.files or len(self.files) < MOST_FILES:
                self.files[read].add(*sums)
            else:
                self.untold_reads += sums[0]
            key = key._replace(file=0) if key.directory else key
        if key not in self.rows and len(self.rows) >= MOST_ROWS:
            key = Key(0, key.request, key.tier, 0, 0)
        self.rows[key].add(*sums)


class IndexOfFiles(NamedTuple):
    """What is asked of the index, by inode numbers."""

    files: Callable[[Sequence[int]], list[Inode]]
    """Those that are regular files and have a name."""
    directories: Callable[[Sequence[int]], dict[int, bytes]]
    """Their paths from the root."""


def attribution_of(fast_path: FastPath | None, index: IndexReader) -> Attribution:
    """The attribution of a mount: without the fast path of what the mover does alone."""
    asked = IndexOfFiles(index.some, index.directory_paths)
    if fast_path is None:
        return Attribution(None, list, ((), ()), asked)
    router = fast_path.router
    return Attribution(router.watch, router.attributed, fast_path.attributed_names, asked)


class Attribution:
    """Watches for all who ask. Thread-safe."""

    def __init__(
        self,
        watch: Callable[[float], None] | None,
        attributed: Callable[[], list[Attributed]],
        names: tuple[Sequence[str], Sequence[str]],
        index: IndexOfFiles,
    ) -> None:
        """``watch``, ``attributed``: the router's; None without it.

        ``names``: the router's names of requests and tiers.
        """
        self._watch = watch
        self._attributed = attributed
        self._requests, self._tiers = names
        self._index = index
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._timer: threading.Timer | None = None

    def renew(self, watcher: str) -> str:
        """Go on watching for ``watcher``, or begin where it is not known; returns its name.

        Raises:
            UsageError: too many watch.
        """
        with self._lock:
            self._drain()
            if watcher not in self._watches:
                watcher = self._begin()
            self._watches[watcher].until = time.monotonic() + LEASE_S
            if self._watch is not None:
                self._watch(LEASE_S)
            self._expire_later()
            return watcher

    def _begin(self) -> str:
        if len(self._watches) >= MOST_WATCHERS:
            raise UsageError(f"{MOST_WATCHERS} others watch this mount already")
        name = secrets.token_hex(8)
        self._watches[name] = Watch()
        return name

    def take(self, watcher: str, *, files: bool, session: int) -> Record:
        """What the watcher was not told yet, for JSON.

        ``files``: also those read from disk, by processes of ``session``, 0 for all.
        """
        with self._lock:
            found = self._watches[watcher]
            self._watches[watcher] = Watch()
            self._watches[watcher].until = found.until
        self._place(found)
        shown: Record = {
            "rows": self._rows(found),
            "processes": {str(number): one.shown() for number, one in found.processes.items()},
        }
        if files:
            read = self._files(found, session)
            shown |= {"files": read, "untold_reads": found.untold_reads}
        return shown

    def end(self, watcher: str) -> None:
        """Forget a watcher before it is forgotten by itself."""
        with self._lock:
            self._watches.pop(watcher, None)

    def close(self) -> None:
        """Forget all watchers."""
        with self._lock:
            self._watches.clear()
            if self._timer is not None:
                self._timer.cancel()

    # ---------------------------------------------------------------- from the router

    def _drain(self) -> None:
        now = time.monotonic()
        self._watches = {name: one for name, one in self._watches.items() if one.until > now}
        for row in self._attributed() if self._watch is not None else ():
            thread, process, session, name, request, tier, directory, file = row[:8]
            life = Life(row[12], row[13], self._tiers[tier] == "disk")
            self._note(process, thread, session, os.fsdecode(name), life)
            key = Key(process, self._requests[request], self._tiers[tier], directory, file)
            self._add(key, row[8:12])

    def _add(self, key: Key, sums: tuple[int, int, float, float]) -> None:
        for watch in self._watches.values():
            watch.add(key, sums)

    def _note(self, process: int, thread: int, session: int, name: str, life: Life) -> None:
        for watch in self._watches.values():
            if process in watch.processes or len(watch.processes) < MOST_ROWS:
                watch.processes[process].note(thread, session, name, life)

    def _expire_later(self) -> None:
        """Forget watchers that were killed, also where nobody asks any more."""
        if self._timer is None:
            self._timer = threading.Timer(LEASE_S, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _expire(self) -> None:
        with self._lock:
            self._timer = None
            self._drain()
            if self._watches:
                self._expire_later()

    # ---------------------------------------------------------------- from the mover

    def moved(self, request: str, inos: Sequence[int], nbytes: int, seconds: float) -> None:
        """The mover has moved files, and waited for the disk."""
        if not self._watches:
            return
        thread, now = threading.get_native_id(), time.monotonic()
        with self._lock:
            life = Life(now - seconds, now, on_disk=True)
            self._note(os.getpid(), thread, os.getsid(0), "tierfs", life)
            for ino in inos:
                key = Key(os.getpid(), request, "disk", 0, ino)
                share = seconds / len(inos)
                sums = (1, nbytes // len(inos), share, share)
                self._add(key, sums)

    # ---------------------------------------------------------------- for the watcher

    def _place(self, watch: Watch) -> None:
        """Put rows of files into their directories, as far as the index knows them."""
        strays = [key for key in watch.rows if key.file]
        parents = {row.ino: row.parent for row in self._some({key.file for key in strays})}
        for key in strays:
            sums = watch.rows.pop(key)
            placed = key._replace(directory=parents.get(key.file, 0), file=0)
            watch.rows[placed].add(sums.requests, sums.bytes, sums.seconds, sums.waited)

    def _some(self, inos: Iterable[int]) -> Iterable[Inode]:
        wanted = sorted(inos)
        for at in range(0, len(wanted), BATCH):
            yield from self._index.files(wanted[at : at + BATCH])

    def _paths(self, directories: set[int]) -> dict[int, str]:
        found = self._index.directories(sorted(directories - {0})) if directories else {}
        return {ino: os.fsdecode(path) for ino, path in found.items()}

    def _rows(self, watch: Watch) -> list[Record]:
        paths = self._paths({key.directory for key in watch.rows})
        return [
            {
                "process": key.process,
                "request": key.request,
                "tier": key.tier,
                "directory": paths.get(key.directory),
                "requests": sums.requests,
                "bytes": sums.bytes,
                "seconds": sums.seconds,
                "waited": sums.waited,
            }
            for key, sums in watch.rows.items()
        ]

    def _files(self, watch: Watch, session: int) -> list[Record]:
        """By directory: how much promoting the files that were read from disk would copy."""
        files: defaultdict[int, Sums] = defaultdict(Sums)
        of_session = {one for one, known in watch.processes.items() if known.session == session}
        for (process, file), one in watch.files.items():
            if not session or process in of_session:
                files[file].add(one.requests, one.bytes, one.seconds, one.waited)
        by_directory: defaultdict[int, Record] = defaultdict(
            lambda: {"files": 0, "bytes": 0, "requests": 0, "seconds": 0.0, "waited": 0.0}
        )
        for row in self._some(files):
            sums, read = by_directory[row.parent], files[row.ino]
            sums["files"] += 1
            sums["bytes"] += max(0, row.size - row.prefix)
            sums["requests"] += read.requests
            sums["seconds"] += read.seconds
            sums["waited"] += read.waited
        paths = self._paths(set(by_directory))
        return [
            {"directory": paths[ino], **sums} for ino, sums in by_directory.items() if ino in paths
        ]


class WatchedMigrator:
    """A `Migrator` whose moves are attributed; not the pauses that the policy's rates make."""

    def __init__(self, migrator: Migrator, moved: Callable[..., None]) -> None:
        self._migrator = migrator
        self._moved = moved

    def place(
        self, ino: int, prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        """See `Migrator`."""
        pace, began = _Pace(paced), time.monotonic()
        done = self._migrator.place(ino, prefix, keep_mirror=keep_mirror, paced=pace)
        request = "demote" if done.freed else "promote"
        self._moved(request, [ino], done.copied, time.monotonic() - began - pace.seconds)
        return done

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        """See `Migrator`."""
        pace, began = _Pace(paced), time.monotonic()
        done = self._migrator.mirror(inos, paced=pace)
        copied = sum(one.copied for one in done)
        self._moved("mirror", inos, copied, time.monotonic() - began - pace.seconds)
        return done


class _Pace:
    """Calls ``paced``, and counts the seconds that it takes."""

    def __init__(self, paced: Callable[[int], None]) -> None:
        self._paced = paced
        self.seconds = 0.0

    def __call__(self, count: int) -> None:
        began = time.monotonic()
        self._paced(count)
        self.seconds += time.monotonic() - began
