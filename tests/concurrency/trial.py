"""A run and all that is checked of it; a failure leaves its history in a file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.concurrency.aside import Aside, check_asides
from tests.concurrency.calls import CALLS, Call, Event
from tests.concurrency.conductor import Crowd, Plan, crowd, prepare, to_look_at
from tests.concurrency.directory import SharedDirectory
from tests.concurrency.linearize import explain
from tests.concurrency.saved import how_to_replay, save
from tests.concurrency.schedule import drawn, recorded
from tests.concurrency.tree import Tree
from tests.model.compare import Comparison

TIMEOUT = 100
"""Seconds that a run may take if nobody says otherwise."""

Work = Callable[[Crowd], list[Event]]


class Trial:
    """One run below `root`, an empty directory or a new one, which is made ready for it."""

    def __init__(self, plan: Plan, root: Path) -> None:
        self.plan = plan
        self.root = root
        self.history: list[Event] = []
        self._began_ns = time.time_ns()
        root.mkdir(exist_ok=True)
        prepare(root)

    def freely(self, timeout: float = TIMEOUT) -> None:
        """Everybody as fast as they can; the moments at which calls meet are left to chance."""
        programs = self.plan.programs()
        self._do(lambda crowd: [*crowd.run(programs), *crowd.look(to_look_at(programs))], timeout)

    def by_seed(self, timeout: float = TIMEOUT) -> None:
        """Calls begin and end in an order that is drawn from the seed."""
        programs = self.plan.programs()
        instants = drawn(self.plan.seed, [len(calls) for calls in programs])

        def work(crowd: Crowd) -> list[Event]:
            done = crowd.conduct(instants, programs, random.Random(self.plan.seed))
            return [*done, *crowd.look(to_look_at(programs))]

        self._do(work, timeout)

    def again(self, history: list[Event], attempt: int, timeout: float = TIMEOUT) -> None:
        """Do the calls of a history once more.

        In even attempts they begin and end in the recorded order, in odd ones each begins at its
        recorded moment, so that a call can meet another one's last microsecond.
        """
        programs: list[list[Call]] = [[] for _ in range(self.plan.workers + 1)]
        moments: list[list[int]] = [[] for _ in programs]
        history = sorted(history, key=lambda event: event.began_ns)
        for event in history:
            programs[event.worker].append(event.call)
            moments[event.worker].append(event.began_ns - history[0].began_ns)
        if attempt % 2 and not self.plan.lockstep:
            self._do(lambda crowd: crowd.run(programs, moments), timeout)
        else:
            chance = random.Random(self.plan.seed + attempt)
            self._do(lambda crowd: crowd.conduct(recorded(history), programs, chance), timeout)

    def check(self) -> list[Tree]:
        """Assert that what was seen can have been, and that it is so; the models it may equal."""
        with self._keeping_the_history():
            models = check_history(self.history)
            self.check_is_one_of(models)
        return models

    def check_later(self, models: list[Tree]) -> None:
        """Assert the same once more, when the filesystem has been taken away and put back."""
        witness = Aside(self.root, self.plan.workers, self.plan.head)
        calls = [call for call in to_look_at(self.plan.programs()) if call.name not in CALLS]
        with self._keeping_the_history():
            self.check_is_one_of(models)
            for call in calls:
                complaint = witness.perform(call)
                assert complaint is None, complaint

    def check_is_one_of(self, models: list[Tree]) -> None:
        """Assert that the shared directory equals one of the models."""
        directory = SharedDirectory(self.root / "shared")
        wrong = []
        try:
            for model in models:
                try:
                    Comparison(model, directory, self._began_ns).check(None)
                except AssertionError as error:
                    wrong.append(str(error))
                else:
                    return
        finally:
            directory.leave()
        raise AssertionError("\n".join(["the directory is in no possible state:", *wrong[:5]]))

    def _do(self, work: Work, timeout: float) -> None:
        with self._keeping_the_history(), crowd(self.root, self.plan, timeout) as processes:
            try:
                self.history = work(processes)
            except BaseException:
                self.history = processes.events
                raise

    @contextmanager
    def _keeping_the_history(self) -> Iterator[None]:
        """Say in a failure where the history is, and how to come back to it."""
        try:
            yield
        except AssertionError as error:
            plan = self.plan
            seed = f"TIERFS_SEED={plan.seed} draws the same calls, and a run by seed the same order"
            message = f"{error}\n{plan}\n{seed}\n{how_to_replay(save(plan, self.history))}"
            raise type(error)(message) from error


def check_history(history: list[Event]) -> list[Tree]:
    """Assert that no call complained, and that an order of the others explains what they saw."""
    check_asides(history, CALLS.__contains__)
    return explain(history)
