"""Processes that do what a plan says: as fast as they can, or each call at its instant."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.concurrency.aside import Aside
from tests.concurrency.calls import Call, Event
from tests.concurrency.directory import SharedDirectory
from tests.concurrency.performer import HONEST, event_of
from tests.concurrency.programs import FEW, SOME, program
from tests.concurrency.schedule import Instant
from tests.concurrency.tree import FLEETING, FOLDERS, SIZED, SOURCES
from tests.support.proc import ProgramFailed, start, stop

HEAD_START = 20_000_000
"""Nanoseconds in which all processes get to know at which moment they start."""

LEAD, STAGGER = 200_000, 100_000
"""Nanoseconds in which a process gets to know its next call, and that calls are apart at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: all that a history depends on but the moments at which calls met."""

    profile: str
    seed: int
    length: int
    head: int = 65536
    filesystem: str = HONEST
    workers: int = 4

    @property
    def lockstep(self) -> bool:
        """Whether a call that began is at a known point before anything else happens."""
        return self.filesystem != HONEST

    def programs(self) -> list[list[Call]]:
        """The calls of each process."""
        workers = range(self.workers)
        return [program(self.profile, self.seed, n, self.length, self.head) for n in workers]


def to_look_at(programs: Sequence[Sequence[Call]]) -> list[Call]:
    """What the witness looks at, a process more, when all others are done."""
    names = (*FOLDERS, *FLEETING, *FEW, *SOME, *SOURCES)
    counts = tuple(sum(call.name == "record" for call in calls) for calls in programs)
    return [
        *(Call("list", (folder,)) for folder in ("", *FOLDERS, *FLEETING)),
        *(Call("look", (name,)) for name in names),
        *(Call("size", (name,)) for name in SIZED),
        Call("records", numbers=counts),
        Call("crowded"),
        Call("loose_all"),
    ]


def prepare(root: Path) -> None:
    """Make in an empty directory what the processes of a run find."""
    SharedDirectory.prepare(root / "shared")
    Aside.prepare(root)


class Crowd:
    """Processes that have been started."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]], *, lockstep: bool) -> None:
        self.events: list[Event] = []
        self._processes = processes
        self._lockstep = lockstep
        for number in range(len(processes)):
            assert self._hear(number) == "ready"

    def run(
        self, programs: Sequence[Sequence[Call]], moments: Sequence[Sequence[int]] | None = None
    ) -> list[Event]:
        """Let all work at the same time as fast as they can, or each call at its moment.

        `moments` are nanoseconds from the start; who is late goes on at once.
        """
        moments = moments or [[0] * len(calls) for calls in programs]
        workers = range(len(programs))
        for worker in workers:
            calls = [asdict(call) for call in programs[worker]]
            self._tell(worker, {"free": calls, "moments": moments[worker]})
        for worker in workers:
            assert self._hear(worker) == "loaded"
        start_ns = time.monotonic_ns() + HEAD_START
        for worker in workers:
            self._tell(worker, start_ns)
        return self._noted(worker for worker in workers for _ in programs[worker])

    def conduct(
        self,
        instants: Sequence[Instant],
        programs: Sequence[Sequence[Call]],
        chance: random.Random,
    ) -> list[Event]:
        """Let calls begin and end in this order.

        Those that begin with no end in between start at the same moment, some up to STAGGER later:
        `chance` draws it.
        """
        waiting = [iter(calls) for calls in programs]
        before = len(self.events)
        for is_end, group in itertools.groupby(instants, lambda instant: instant.is_end):
            if is_end:
                self._noted(self._ending(worker) for worker, _ in group)
                continue
            start_ns = time.monotonic_ns() + LEAD
            for worker, _ in group:
                at = start_ns + chance.choice((0, 0, chance.randrange(STAGGER)))
                self._tell(worker, {"call": asdict(next(waiting[worker])), "at": at})
                if self._lockstep:
                    assert self._hear(worker) == "held"
        return in_order(self.events[before:])

    def look(self, calls: Sequence[Call]) -> list[Event]:
        """Let the last process, the witness, do calls, one after the other."""
        witness = len(self._processes) - 1
        every = [Instant(witness, is_end) for _ in calls for is_end in (False, True)]
        return self.conduct(every, [*([] for _ in range(witness)), calls], random.Random(0))

    def _ending(self, worker: int) -> int:
        self._tell(worker, "end")
        if not self._lockstep:
            assert self._hear(worker) == "held"
        return worker

    def _noted(self, workers: Iterable[int]) -> list[Event]:
        """The next event of each; kept at once, for a run that comes to no good end."""
        before = len(self.events)
        for worker in workers:
            self.events.append(event_of(self._hear(worker)))
        return in_order(self.events[before:])

    def _tell(self, worker: int, message: object) -> None:
        stream = self._processes[worker].stdin
        assert stream is not None
        try:
            stream.write(json.dumps(message) + "\n")
            stream.flush()
        except BrokenPipeError:
            self._fail(worker)

    def _hear(self, worker: int) -> Any:  # noqa: ANN401 - whatever the process said
        stream = self._processes[worker].stdout
        assert stream is not None
        line = stream.readline()
        if not line:
            self._fail(worker)
        return json.loads(line)

    def _fail(self, worker: int) -> None:
        stream = self._processes[worker].stderr
        assert stream is not None
        message = f"process {worker} ended: {stream.read()[-4000:] or 'it took too long'}"
        raise ProgramFailed(message)


def in_order(events: list[Event]) -> list[Event]:
    """By their beginnings."""
    return sorted(events, key=lambda event: event.began_ns)


@contextmanager
def crowd(root: Path, plan: Plan, timeout: float) -> Iterator[Crowd]:
    """Start the processes and the witness; they are killed after `timeout` seconds."""
    with ExitStack() as stack:
        processes = []
        for number in range(plan.workers + 1):
            arguments = [str(root), str(number), str(plan.head), plan.filesystem]
            module = "tests.concurrency.performer"
            processes.append(start([sys.executable, "-m", module, *arguments]))
            stack.callback(stop, processes[-1])
        timer = threading.Timer(timeout, _kill, [processes])
        timer.start()
        stack.callback(timer.join)
        stack.callback(timer.cancel)
        yield Crowd(processes, lockstep=plan.lockstep)


def _kill(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()
