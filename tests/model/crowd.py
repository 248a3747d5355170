"""A program: several processes, each against the model in its own directory and all in shared ones.

`crowd.py ROOT LOGS SEED OPERATIONS WORKERS HEAD` works below ROOT until that many operations are
done, and writes what was done in the shared directory to LOGS. What a process draws depends on the
seed, and in the shared directory on what it finds there; how the processes meet is left to chance.
Ends with a traceback at the first mismatch.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path as OsPath
from typing import TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.driver import TIERFS, Operations
from tests.model.guest import Appender, Guest, Lister, check_records
from tests.model.history import Recorder
from tests.model.machine import FilesystemMachine
from tests.model.native_driver import NativeDriver
from tests.model.shared import SharedDriver

T = TypeVar("T")

EXAMPLES, STEPS = 2, 25
"""Runs of the state machine in a round, and operations of each."""

SHARED_STEPS = 60
"""Operations in the shared directory in a round, done by all processes at the same time."""

PATIENCE = 300
"""Seconds that the processes wait for one another."""


@dataclass(frozen=True)
class Plan:
    """What the command line says."""

    root: OsPath
    logs: OsPath
    seed: int
    operations: int
    workers: int
    head: int

    @property
    def shared(self) -> OsPath:
        """The directory whose every state is followed."""
        return self.root / "shared"

    @property
    def crowded(self) -> OsPath:
        """The directory that is listed while it changes."""
        return self.root / "crowded"

    @property
    def records(self) -> OsPath:
        """The file to which everybody appends."""
        return self.root / "records"


class Together:
    """What the processes need of one another."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("fork")
        self.barrier = context.Barrier(workers, timeout=PATIENCE)
        self.operations = context.Value("q", 0)
        self.records = context.Array("q", workers)

    def add(self, count: int) -> None:
        """Count operations."""
        with self.operations.get_lock():
            self.operations.value += count


class Worker:
    """One process."""

    def __init__(self, plan: Plan, together: Together, number: int, stack: ExitStack) -> None:
        self._plan = plan
        self._together = together
        self._number = number
        self._round = 0
        self._own = plan.root / f"own-{number}"
        self._own.mkdir()
        chance = random.Random(f"{plan.seed} {number}")
        log = stack.enter_context((plan.logs / f"{number}.jsonl").open("w"))
        driver = SharedDriver(plan.shared)
        stack.callback(driver.leave)
        self._guest = Guest(Recorder(driver, number, log), number, chance, plan.head)
        self._lister = Lister(plan.crowded, number, chance)
        self._appender = Appender(plan.records, number, chance)
        stack.callback(self._appender.leave)

    def work(self) -> None:
        """Go on until all together have done enough; nobody leaves a round early."""
        while self._together.operations.value < self._plan.operations:
            self._round += 1
            self._together.add(self._alone())
            self._together.barrier.wait()
            self._together.add(self._with_others())
            self._together.barrier.wait()
        self._guest.leave()
        self._lister.leave()
        self._together.records[self._number] = self._appender.count

    def _alone(self) -> int:
        """Let the state machine work in this process's own directory; how much it did."""
        done, directory, head = 0, self._own, self._plan.head

        class Machine(FilesystemMachine):
            def __init__(self) -> None:
                super().__init__(lambda: NativeDriver(directory, TIERFS), head)

            def both(self, call: Callable[[Operations], T]) -> None:
                nonlocal done
                done += 1
                super().both(call)

        chosen = random.Random(f"{self._plan.seed} {self._number} {self._round}")
        run_state_machine_as_test(seed(chosen.getrandbits(64))(Machine), settings=SETTINGS)
        return done

    def _with_others(self) -> int:
        for step in range(SHARED_STEPS):
            self._guest.step()
            if step % 4 == self._number % 4:
                self._appender.step()
            if step % 20 == self._number:
                self._lister.step()
        return SHARED_STEPS + SHARED_STEPS // 4 + SHARED_STEPS // 20


SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    database=None,
    phases=(Phase.generate,),
    deadline=None,
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def run_worker(plan: Plan, together: Together, number: int) -> None:
    """Be one process; it lets the others go when it fails."""
    os.umask(0)  # the model knows none
    try:
        with ExitStack() as stack:
            Worker(plan, together, number, stack).work()
    except threading.BrokenBarrierError:
        sys.exit(3)  # somebody else has failed, and says why
    except BaseException:
        traceback.print_exc()
        together.barrier.abort()
        raise


def main() -> int:
    """Make what is shared, let the processes work, and look at what only needs counting."""
    numbers = map(int, sys.argv[3:7])
    plan = Plan(OsPath(sys.argv[1]), OsPath(sys.argv[2]), *numbers)
    SharedDriver.make(plan.shared)
    Lister.make(plan.crowded)
    began = time.monotonic()
    together = Together(plan.workers)
    start = multiprocessing.get_context("fork").Process
    processes = [start(target=run_worker, args=(plan, together, n)) for n in range(plan.workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        return 1
    check_records(plan.records, together.records[:])
    seconds = time.monotonic() - began
    sys.stdout.write(f"{together.operations.value} operations in {seconds:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
