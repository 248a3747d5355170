"""Several processes at once: each against the model, and all in directories that they share.

TIERFS_OPERATIONS=N sets how many operations; TIERFS_SEED=N repeats what a failed run has drawn.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.model import crowd
from tests.model.compare import Comparison
from tests.model.history import Call, Event, read_history
from tests.model.linearize import Unexplained, possible_models
from tests.model.shared import SharedDriver, SharedModel
from tests.support.mounting import Mount
from tests.support.places import Place
from tests.support.proc import REPOSITORY, Argument, ProgramFailed, run

OPERATIONS = int(os.environ.get("TIERFS_OPERATIONS", "1000"))
"""In the long run 10,000."""

SEED = int(os.environ.get("TIERFS_SEED", str(random.randrange(2**32))))
WORKERS = 4
LIMIT = 100 + OPERATIONS // 10
"""Seconds that the processes may take, on a slow machine with other work."""


@pytest.mark.timeout(2 * LIMIT)
def test_every_process_sees_what_the_model_allows(place: Place, scratch: Path) -> None:
    logs = scratch / "logs"
    logs.mkdir()
    began_ns = time.time_ns()
    try:
        sys.stdout.write(work(place, logs))
        check_shared(place, logs, began_ns)
    except AssertionError as error:
        repeat = f"TIERFS_SEED={SEED} TIERFS_OPERATIONS={OPERATIONS}"
        message = f"to repeat: {repeat}\n{error}"
        raise AssertionError(message) from error
    if isinstance(place, Mount):
        check_nothing_is_left(place)


def work(place: Place, logs: Path) -> str:
    """Let the processes work; how many operations they did."""
    head = place.head if isinstance(place, Mount) else 65536
    numbers = map(str, (SEED, OPERATIONS, WORKERS, head))
    command: list[Argument] = [sys.executable, "-m", crowd.__name__, place.path, logs, *numbers]
    return run(command, timeout=LIMIT).stdout


def check_shared(place: Place, logs: Path, began_ns: int) -> None:
    """Assert that the shared directory is what one order of the calls leads to, now and later."""
    models = possible_models(read_history(sorted(logs.glob("*.jsonl"))))
    sys.stdout.write(f"{len(models)} possible states\n")
    check_is_one_of(place.path / "shared", models, began_ns)
    place.remount()
    check_is_one_of(place.path / "shared", models, began_ns)


def check_is_one_of(directory: Path, models: list[SharedModel], began_ns: int) -> None:
    """Assert that the directory equals one of the models."""
    driver = SharedDriver(directory)
    wrong = []
    try:
        for model in models:
            try:
                Comparison(model, driver, began_ns).check(None)
            except AssertionError as error:
                wrong.append(str(error))
            else:
                return
    finally:
        driver.leave()
    raise AssertionError("\n".join(["the shared directory is in no possible state:", *wrong[:5]]))


def check_nothing_is_left(mount: Mount) -> None:
    """Remove everything: no object may be left when the daemon has ended."""
    run(["find", mount.path, "-mindepth", "1", "-delete"])
    mount.unmount()
    objects = [*mount.flash.glob("heads/*/*/*"), *mount.disk.glob("objects/*/*/*")]
    assert not objects, f"objects of removed files are left: {objects}"


def event(began: int, ended: int, call: Call, result: str = "None") -> Event:
    return Event(0, began, ended, call, result)


CREATE, UNLINK = Call("create", ("A/a",)), Call("unlink", ("A/a",))


def test_calls_one_after_the_other_have_one_outcome() -> None:
    (model,) = possible_models([event(1, 2, CREATE), event(3, 4, UNLINK)])
    assert model.paths() == [(b"A",), (b"B",)]


def test_calls_at_the_same_time_have_every_order_that_their_outcomes_allow() -> None:
    create = event(1, 9, CREATE)
    refused = event(2, 8, CREATE, "Failed(EEXIST)")
    moves = [event(10, 20, Call("rename", ("A/a", to), numbers=(0,))) for to in ("A/b", "B/b")]
    lost = replace(moves[1], outcome="Failed(ENOENT)")
    (model,) = possible_models([create, refused, moves[0], lost])
    assert (b"A", b"b") in model.paths()
    truncations = [
        event(12, 20 + size, Call("ftruncate", handle=0, numbers=(size,))) for size in (1, 2)
    ]
    opened = event(10, 11, Call("open", ("A/a",), 0))
    models = possible_models([create, opened, *truncations])
    assert {model.state(0) for model in models} == {(1, 1), (1, 2)}


@pytest.mark.parametrize(
    "history",
    [
        [event(1, 2, CREATE), event(3, 4, UNLINK, "Failed(ENOENT)")],
        [event(1, 5, CREATE), event(2, 6, CREATE)],
        [event(1, 2, CREATE), event(3, 9, UNLINK), event(4, 8, UNLINK)],
    ],
)
def test_outcomes_that_no_order_gives_are_seen(history: list[Event]) -> None:
    with pytest.raises(Unexplained, match="A/a"):
        possible_models(history)


def test_a_process_that_finds_other_bytes_ends_the_run(scratch: Path) -> None:
    """The program is given a directory that is there already, which its first call trips over."""
    (scratch / "own-0").mkdir()
    numbers = ["1", "10", "2", "4096"]
    command: list[Argument] = [sys.executable, "-m", crowd.__name__, scratch, scratch, *numbers]
    with pytest.raises(ProgramFailed, match="FileExistsError"):
        run(command, cwd=REPOSITORY)


def test_a_history_is_read_as_it_was_written(scratch: Path) -> None:
    line = {"worker": 0, "began_ns": 1, "ended_ns": 2, "outcome": "None"}
    call = {"name": "create", "paths": ["A/a"], "handle": -1, "numbers": []}
    (scratch / "0.jsonl").write_text(json.dumps({**line, "call": call}) + "\n")
    assert read_history([scratch / "0.jsonl"]) == [event(1, 2, CREATE)]
