"""Start workers, let them go at the same moment, and collect what they saw."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.concurrency.history import Event
from tests.support.proc import start, stop

SECONDS = 60
"""That a crowd may take."""


class Job(NamedTuple):
    """So many workers that do the same, so many `times` each."""

    name: str
    workers: int
    times: int


def crowd(home: Path, *jobs: Job, seed: int = 1) -> list[Any]:
    """What each worker wrote, job after job; AssertionError with the output of one that failed."""
    every = [job for job in jobs for _ in range(job.workers)]
    deadline = time.monotonic() + SECONDS
    with ExitStack() as stack:
        processes = []
        for number, job in enumerate(every):
            arguments = [job.name, str(home), str(number), str(job.times), str(seed)]
            process = start([sys.executable, "-m", "tests.concurrency.worker", *arguments])
            stack.callback(stop, process)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [
            _seen(process.communicate(timeout=deadline - time.monotonic()), process.returncode)
            for process in processes
        ]


def histories(seen: Sequence[Any]) -> list[list[Event]]:
    """What workers wrote down call by call."""
    return [
        [Event(start, end, call, tuple(args), outcome) for start, end, call, args, outcome in each]
        for each in seen
    ]


def _seen(output: tuple[str, str], status: int) -> Any:  # noqa: ANN401
    assert status == 0, output[1][-4000:]
    return json.loads(output[0])
