"""Which files are looked at for header facts, and when.

The change feed tells which files changed; one that was left alone for a while is looked at. A pass
over the index finds the others: at first all, later those that a feed which broke off did not tell
of, and those whose extractor has a better version. Its position is in the index. The feed's reader
stays at the oldest change that is not dealt with, so a restart loses nothing.

One file at a time is read and given to a worker process. Bytes on disk are read within the rate and
the windows of the mover. What was found is stored, a transaction for each file, where the file did
not change meanwhile; one that fails has its error stored, and is not tried again before it changes.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from tierfs.common.errors import FsError
from tierfs.common.extents import Extent, clip
from tierfs.common.metrics import Metrics
from tierfs.common.times import Clock, system_clock
from tierfs.common.units import KIB, SECOND
from tierfs.facts.process import Answer, WorkerFailed, WorkerProcess
from tierfs.fs.filesystem import FileSystem
from tierfs.fs.locks import WouldBlock
from tierfs.metadata.feed import INODE, TrimmedAway
from tierfs.metadata.header_facts import LOOKED_AT, FactPass, FactState
from tierfs.metadata.index import Index
from tierfs.metadata.inodes import Inode

log = logging.getLogger(__name__)

READER: Final = "facts"
"""The name of the feed's reader."""

HEAD: Final = 64 * KIB
"""First bytes of a file that an extractor sees without asking."""

AT_ONCE: Final = 32
"""Files that changed and are looked at before the feed is read again."""
CHANGES: Final = 100
"""Of the feed, read at a time: a fifth of a millisecond, for which writers wait."""
MOST_PENDING: Final = 200_000
"""Files that changed and are not looked at yet; the feed waits with those beyond."""
SPAN: Final = 512
"""Inode numbers that the pass asks for at a time: a millisecond or two without a rest."""

LOOK_S: Final = 1.0
"""How often it looks for changes."""
LATER_S: Final = 5.0
"""When a file is looked at again whose bytes were not settled: a checkpoint does that."""
TRY_AGAIN_S: Final = 60.0
"""When a worker is started again that did not begin to work."""
KEEP_WORKER_S: Final = 60.0
"""How long a worker without work is kept."""
STORE_EVERY_S: Final = 5.0
"""So much of a pass is done again after a kill."""
SHARE_BESIDE: Final = 0.03
"""Of the time the thread works so much while requests come, which need the interpreter too."""
SHARE_ALONE: Final = 0.25
"""The same while there are next to none."""
BUSY: Final = 0.01
"""Of the time the daemon's other threads run so much when requests come: 50 to 500 a second."""
LONGEST_REST_S: Final = 1.0

SHOWN: Final = 1000
"""Errors in an answer, at most."""


class Limits(Protocol):
    """What is needed of `tierfs.tiering.mover.Mover`."""

    def delay(self, nbytes: int, operations: int = 0) -> float:
        """Seconds to wait before so much is done."""

    def in_window(self) -> bool:
        """Whether work that can wait may be done now."""

    def is_suspended(self) -> bool:
        """Whether nothing is moved for a while."""


class Catalog(Protocol):
    """What is needed of `tierfs.metadata.reader.IndexReader`."""

    def files(self, after: int, span: int, *, on_flash: bool) -> tuple[list[Inode], int]:
        """Regular files with numbers in ``(after, after + span]``, and the next ``after``, or 0."""

    def fact_states(self, inos: Sequence[int]) -> dict[int, FactState]:
        """What is known of those of the inodes that were looked at."""

    def last_inode(self) -> int:
        """The largest inode number there is."""


@dataclass(frozen=True, slots=True)
class GatheringPorts:
    """What is needed of the volume and of the mover."""

    fs: FileSystem
    index: Index
    catalog: Catalog
    limits: Limits
    worker: WorkerProcess
    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic


class _Pending(NamedTuple):
    """A file that is to be looked at.

    ``serial``: of its last change; None: the pass found it. ``seen``: when that was noticed.
    ``mtime``: what it was then.
    """

    serial: int | None
    seen: float
    mtime: int


class _Asked(NamedTuple):
    """What there was when somebody asked for all files: what came later is not waited for."""

    serial: int = 0
    """Of the last change in the feed."""
    last: int = 0
    """The largest inode number."""

    def includes(self, ino: int, pending: _Pending) -> bool:
        """Whether the file was to be looked at then."""
        return ino <= self.last if pending.serial is None else pending.serial <= self.serial


_NOTHING: Final = _Asked()


class Spent(NamedTuple):
    """What time there was until a moment, in seconds; of two moments in one thread."""

    time: float
    by_thread: float
    """Of the processors."""
    by_process: float

    @classmethod
    def so_far(cls) -> Spent:
        """By the thread that calls."""
        return cls(time.monotonic(), time.thread_time(), time.process_time())


def rest_after(before: Spent, now: Spent) -> float:
    """For how many seconds a thread works no more after what it did between two moments."""
    worked = now.by_thread - before.by_thread
    others = now.by_process - before.by_process - worked
    is_busy = others > BUSY * (now.time - before.time)
    return worked / (SHARE_BESIDE if is_busy else SHARE_ALONE)


class _Stopped(Exception):
    """The mount ends."""


class Gathering:
    """The header facts of one mount; `run` in a thread of its own, all else in any.

    Raises from every method:
        FsError: the index failed.
    """

    def __init__(self, ports: GatheringPorts, quiet: int, metrics: Metrics) -> None:
        """``quiet``: nanoseconds that a file is left alone before it is looked at."""
        self._ports = ports
        self._quiet = quiet / SECOND
        self._looked_at = metrics.facts_files
        for outcome in ("found", "none", "error", "changed"):
            self._looked_at.labels(outcome)
        metrics.facts_pending.set_function(lambda: len(self._pending) + len(self._later))
        self._wake = threading.Condition()
        self._working = threading.Lock()
        """Held while `run` runs."""
        self._stopped = False
        self._asked = _NOTHING
        """Files that are looked at without waiting, until all of them were."""
        self._again = False
        """Whether somebody asked for a pass over all files."""
        self._pending: dict[int, _Pending] = {}
        """In the order of their last changes."""
        self._later: dict[int, _Pending] = {}
        """Files whose bytes were not settled when it was their turn."""
        self._position = 0
        """The serial of the feed up to which changes were seen."""
        self._advanced = 0
        """How far the feed's reader is."""
        self._generation = ""
        self._idle_since = ports.monotonic()
        self._pass = ports.index.header_facts.progress()
        self._stored = ports.monotonic()
        self._rest_over = time.monotonic()
        self._spent = Spent.so_far()
        self._problem: str | None = None
        self._counts: Counter[str] = Counter()

    # ---------------------------------------------------------------- what people ask for

    def status(self) -> dict[str, Any]:
        """A record for JSON; ``asked``: not all that `start` was to look at was looked at."""
        worker, done = self._ports.worker, self._pass.position
        return {
            "enabled": True,
            "state": "idle" if self._idle() else "working",
            "asked": self._asked != _NOTHING,
            "quiet_s": self._quiet,
            "pending": len(self._pending) + len(self._later),
            "pass": 1.0 if done == LOOKED_AT else self._share(done),
            "files": dict(self._counts),
            "extractors": {each.name: each.version for each in worker.identities},
            "missing": worker.missing,
            "refused": worker.refused,
            "workers_ended": worker.ended,
            "problem": self._problem,
        }

    def start(self) -> dict[str, Any]:
        """Look at every file that is not looked at yet, without waiting; returns the status."""
        index = self._ports.index
        with self._wake:
            index.store_deferred()  # what was written until now is in the feed
            self._asked = _Asked(index.feed.last(), self._ports.catalog.last_inode())
            self._again = True
            self._wake.notify_all()
        return self.status()

    def errors(self, after: int) -> dict[str, Any]:
        """The first files behind an inode number whose headers could not be read; for JSON."""
        index = self._ports.index
        found = index.header_facts.errors(after, SHOWN)
        rows = [(each, index.inodes.find(each.ino)) for each in found]
        return {
            "errors": [
                {
                    "path": index.path_of(row),
                    "ino": each.ino,
                    "extractor": each.extractor or None,
                    "error": each.error,
                }
                for each, row in rows
                if row is not None
            ],
            "next": found[-1].ino if len(found) == SHOWN else None,
        }

    # ---------------------------------------------------------------- the thread

    def run(self) -> None:
        """Look at files until `close`."""
        with self._working:
            self._spent = Spent.so_far()  # by this thread
            try:
                while not self._stopped:
                    if not self._step():
                        self._rest(LOOK_S)
            except _Stopped:
                pass
            finally:
                self._ports.worker.close()

    def close(self) -> None:
        """End `run`, within about the time of one read, and store how far it is."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        with self._working:
            self._advance()
            self._store_pass(self._pass)

    def _step(self) -> bool:
        """Look at some more files; False: there is nothing to do just now."""
        try:
            busy = self._work()
        except WorkerFailed as error:
            if self._problem is None:
                log.warning("header facts: %s; tried again every minute", error)
            self._problem = str(error)
            self._rest(TRY_AGAIN_S)
            return False
        self._problem = None
        now = self._ports.monotonic()
        if busy:
            self._idle_since = now
        elif now - self._idle_since > KEEP_WORKER_S:
            self._ports.worker.close()
        return busy

    def _work(self) -> bool:
        """One step; returns whether there was something to do.

        Raises:
            WorkerFailed: there is no worker.
        """
        if not self._ports.worker.identities:  # who looks at files decides which are looked at
            self._ports.worker.start()
        more = self._follow()
        found, position = self._next_of_pass()
        files = [*self._due(), *found]  # both: a steady writer must not hold the pass up
        for ino in files:
            self._look_at(ino)
            self._breathe()
        self._breathe()
        more = more or position != self._pass.position
        self._pass = self._pass._replace(position=position)  # until now there was something to do
        self._advance()
        with self._wake:
            if self._asked != _NOTHING and not self._again and self._is_done(self._asked):
                self._asked = _NOTHING
        return bool(files) or more

    # ---------------------------------------------------------------- which files

    def _follow(self) -> bool:
        """See what changed; returns whether there is more."""
        feed = self._ports.index.feed
        if feed.generation != self._generation or not feed.is_written:
            self._begin_anew()
        if len(self._pending) >= MOST_PENDING:
            return False
        try:
            rows = feed.read(self._position, CHANGES)
        except TrimmedAway:
            self._begin_anew(lost=True)
            return True
        now = self._ports.monotonic()
        for row in rows:
            self._note(row, now)
        return len(rows) == CHANGES

    def _note(self, row: Sequence[Any], now: float) -> None:
        serial, kind, ino, mode, mtime = row[0], row[1], row[2], row[9], row[15]
        self._position = serial
        if kind == INODE and stat.S_ISREG(mode):
            waits = self._pending.get(ino) or self._later.get(ino)
            if waits is None or waits.mtime != mtime:  # else it was settled, or moved
                self._forget(ino)
                self._pending[ino] = _Pending(serial, now, mtime)
        elif kind == INODE + 1:
            self._forget(ino)

    def _forget(self, ino: int) -> _Pending | None:
        return self._pending.pop(ino, None) or self._later.pop(ino, None)

    def _begin_anew(self, *, lost: bool = False) -> None:
        """Follow the feed from where it is now on; what was before it the pass finds."""
        feed = self._ports.index.feed
        self._position = feed.register(READER, anew=lost)
        self._generation = feed.generation
        if lost or self._pass.generation != self._generation:
            self._position = feed.register(READER, anew=True)
            self._begin_pass()
        self._advanced = 0

    def _extractors(self) -> str:
        return " ".join(f"{name}:{version}" for name, version in self._ports.worker.identities)

    def _due(self) -> list[int]:
        """Some files that changed and were left alone for a while."""
        now, due = self._ports.monotonic(), list[int]()
        for waiting, seconds in ((self._later, LATER_S), (self._pending, self._quiet)):
            for ino, pending in waiting.items():
                is_due = pending.seen + seconds <= now or (
                    waiting is self._pending and self._asked.includes(ino, pending)
                )
                if not is_due or len(due) == AT_ONCE:
                    break
                due.append(ino)
        return due

    def _is_done(self, asked: _Asked) -> bool:
        """Whether all was looked at that there was when somebody asked."""
        passed = self._pass.position
        waiting = [*islice(self._pending.items(), 1), *self._later.items()]
        return (
            self._position >= asked.serial
            and (passed == LOOKED_AT or passed >= asked.last)
            and not any(asked.includes(ino, each) for ino, each in waiting)
        )

    def _next_of_pass(self) -> tuple[list[int], int]:
        """Some files that the pass comes to and that are to be looked at; how far it is then."""
        if self._again or self._pass.extractors != self._extractors():
            self._begin_pass()
            self._again = False  # who asked meanwhile gets this pass, too
        after = self._pass.position
        if after == LOOKED_AT:
            return [], LOOKED_AT
        catalog = self._ports.catalog
        rows, following = catalog.files(after, SPAN, on_flash=False)
        states = catalog.fact_states([row.ino for row in rows])
        wanted = [
            row.ino
            for row in rows
            if self._is_wanted(row, states.get(row.ino))
            and row.ino not in self._pending
            and row.ino not in self._later
        ]
        return wanted, following or LOOKED_AT

    def _is_wanted(self, row: Inode, state: FactState | None) -> bool:
        if row.size == 0:
            return False
        if state is None or state.data_version != row.version:
            return True
        found = state.extractor, state.extractor_version
        return found not in self._ports.worker.identities and found != self._ports.worker.nothing

    def _advance(self) -> None:
        """Let the feed forget what is dealt with, and store the pass now and then."""
        if self._ports.monotonic() - self._stored < STORE_EVERY_S and not self._stopped:
            return
        serials = [each.serial for each in self._later.values() if each.serial is not None]
        serials += [each.serial or 0 for each in [*self._pending.values()][:1]]
        done = min(serials) - 1 if serials else self._position
        if self._generation and done > self._advanced:
            self._ports.index.feed.advance(READER, done)
            self._advanced = done
        passed = self._pass
        found = [ino for ino, each in self._later.items() if each.serial is None]
        if found and (passed.position == LOOKED_AT or min(found) <= passed.position):
            passed = passed._replace(position=min(found) - 1)
        self._store_pass(passed)

    def _store_pass(self, progress: FactPass) -> None:
        index = self._ports.index
        if progress != index.header_facts.progress():
            with index.transaction():
                index.header_facts.set_progress(progress)
        self._stored = self._ports.monotonic()

    def _begin_pass(self) -> None:
        """Look at all files once more, of which most need nothing."""
        self._pass = FactPass(self._extractors(), 0, self._generation)
        self._store_pass(self._pass)

    # ---------------------------------------------------------------- one file after the other

    def _look_at(self, ino: int) -> None:
        inode = self._ports.index.inodes.find(ino)
        done = inode is None or inode.nlink == 0 or not inode.size or self._is_known(inode)
        if inode is not None and not done:
            is_dirty = self._ports.fs.dirty.get(ino) is not None
            done = not is_dirty and self._store(inode, self._extracted(inode))
        pending = self._forget(ino)
        if inode is not None and not done:
            serial, _, mtime = pending or (None, 0.0, inode.mtime)
            self._later[ino] = _Pending(serial, self._ports.monotonic(), mtime)

    def _is_known(self, inode: Inode) -> bool:
        state = self._ports.index.header_facts.state(inode.ino, inode.version)
        return state is not None and not self._is_wanted(inode, state)

    def _extracted(self, inode: Inode) -> Answer:
        """What a worker says of a file.

        Raises:
            _Stopped: the mount ends.
            WorkerFailed: there is no worker.
        """
        worker = self._ports.worker
        try:
            head = self._read(inode, 0, min(HEAD, inode.size))
            return worker.extract(
                inode.size, head, lambda offset, length: self._read(inode, offset, length)
            )
        except (FsError, OSError) as error:
            return Answer(worker.nothing, {}, f"its bytes cannot be read: {error}")

    def _read(self, inode: Inode, offset: int, length: int) -> bytes:
        """Bytes of a file as it was; those on disk within the mover's rate.

        It may be another file by now: then the outcome does not count.
        """
        on_disk = offset + length - max(offset, inode.prefix)
        if on_disk > 0:
            self._wait_for_disk(on_disk)
        reads = self._ports.fs.reads
        extent = Extent(offset, length)
        return reads.unless_migrated(
            inode.ino, lambda now: reads.load(now, clip(extent, now.size), wait=True)
        )

    def _wait_for_disk(self, length: int) -> None:
        limits = self._ports.limits
        while limits.is_suspended() or not limits.in_window():
            self._rest(LOOK_S)
        self._rest(limits.delay(length, 1))

    def _breathe(self) -> None:
        """Rest, unless waiting for others was rest enough."""
        before, self._spent = self._spent, Spent.so_far()
        wanted = rest_after(before, self._spent)
        self._rest(min(wanted - (self._spent.time - self._rest_over), LONGEST_REST_S))
        self._rest_over = time.monotonic()

    def _rest(self, seconds: float) -> None:
        end = self._ports.monotonic() + seconds
        with self._wake:
            while not self._stopped:
                left = end - self._ports.monotonic()
                if left <= 0:
                    return
                self._wake.wait(left)
        raise _Stopped

    def _store(self, inode: Inode, answer: Answer) -> bool:
        """Store what was found of a file as ``inode`` says; False: it has changed since."""
        index = self._ports.index
        with ExitStack() as held:
            holds = self._holds(inode, held)
            if holds:
                with index.transaction():
                    index.header_facts.put(self._state(inode, answer), answer.facts)
        found = "error" if answer.error else "found" if answer.facts else "none"
        outcome = found if holds else "changed"
        self._counts[outcome] += 1
        self._looked_at.labels(outcome).inc()
        return holds

    def _holds(self, inode: Inode, held: ExitStack) -> bool:
        """Whether the file is as it was, and stays so while ``held`` is open."""
        fs = self._ports.fs
        try:
            held.enter_context(fs.dirty.locks.hold(inode.ino, wait=False))
        except WouldBlock:
            return False
        row = self._ports.index.inodes.find(inode.ino)
        return (
            row is not None
            and row.nlink > 0
            and row.version == inode.version
            and fs.dirty.get(inode.ino) is None
        )

    def _state(self, inode: Inode, answer: Answer) -> FactState:
        extractor, now = answer.extractor, self._ports.clock()
        return FactState(inode.ino, inode.version, *extractor, answer.error, now)

    def _idle(self) -> bool:
        waiting = self._pending or self._later or self._again
        return not waiting and self._pass.position == LOOKED_AT

    def _share(self, position: int) -> float:
        return min(1.0, position / max(1, self._ports.catalog.last_inode()))


def forget_reader(index: Index) -> None:
    """Let the feed be kept no more for facts, where nobody looks at files."""
    if any(reader.name == READER for reader in index.feed.readers()):
        index.feed.unregister(READER)
