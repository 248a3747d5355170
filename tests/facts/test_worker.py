"""Worker processes: what they may not do, and what becomes of a file that ends one."""

from __future__ import annotations

import errno
import os

import pytest

from tests.facts.workers import WorkerMaker, ask
from tierfs.facts.confinement import NOBODY
from tierfs.facts.extractor import Identity
from tierfs.facts.process import Bounds, WorkerFailed, WorkerProcess

FINE = b"FINE and well"
QUICK = Bounds(cpu_s=1.0, wall_s=30.0)


@pytest.fixture
def wrong(make_worker: WorkerMaker) -> WorkerProcess:
    return make_worker(wrong=1, bounds=QUICK)


@pytest.mark.parametrize("start", [b"OPEN", b"SOCK", b"FORK", b"EXEC", b"KILL"])
def test_it_may_open_connect_and_start_nothing(wrong: WorkerProcess, start: bytes) -> None:
    assert ask(wrong, start).facts == {"wrong.errno": errno.EPERM}


def test_it_is_nobody_and_has_its_socket_alone(wrong: WorkerProcess) -> None:
    facts = ask(wrong, b"IDNT").facts
    assert facts.pop("wrong.descriptors") == 4  # three lead to /dev/null
    if os.geteuid() == 0:
        assert facts == {"wrong.uid": NOBODY, "wrong.gid": NOBODY}


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (b"LOOP", "took more than 1 s of processor time"),
        (b"CRSH", "ended the worker process: SIG"),
        (b"EXIT", "ended the worker process: exit code 3"),
        (b"BHND", "the worker process asked for bytes behind the end of the file"),
    ],
)
def test_what_ends_a_worker_is_an_error_of_that_file_alone(
    wrong: WorkerProcess, start: bytes, why: str
) -> None:
    answer = ask(wrong, start)
    assert answer.error is not None
    assert answer.error.startswith(why)
    assert (answer.facts, answer.extractor, wrong.ended) == ({}, wrong.nothing, 1)
    assert ask(wrong, FINE).facts == {"wrong.size": len(FINE)}


def test_one_that_waits_is_ended_in_time(make_worker: WorkerMaker) -> None:
    worker = make_worker(wrong=1, bounds=Bounds(wall_s=1.0))
    assert ask(worker, b"SLEP").error == "did not end in time"


@pytest.mark.parametrize(
    ("start", "why"),
    [
        (b"BOMB", "MemoryError"),
        (b"MANY", "ValueError: 1000 facts of one file"),
        (b"LIAR", "ValueError: a list is no fact"),
    ],
)
def test_what_raises_is_an_error_and_the_worker_goes_on(
    wrong: WorkerProcess, start: bytes, why: str
) -> None:
    answer = ask(wrong, start)
    assert (answer.error, answer.facts, answer.extractor) == (why, {}, Identity("wrong", 1))
    assert ask(wrong, FINE).facts == {"wrong.size": len(FINE)}
    assert wrong.ended == 0


def test_a_file_is_not_read_without_end(make_worker: WorkerMaker) -> None:
    worker = make_worker(wrong=1, bounds=Bounds(bytes=1 << 20))
    asked: list[int] = []

    def read(_offset: int, length: int) -> bytes:
        asked.append(length)
        return bytes(length)

    answer = worker.extract(64 << 20, b"GRDY".ljust(65536), read)
    assert answer.error == "its header is too large, or too far apart"
    assert sum(asked) == 1 << 20
    assert ask(worker, FINE).facts


def test_a_failed_read_is_the_readers_failure_and_the_next_file_is_answered(
    wrong: WorkerProcess,
) -> None:
    def read(_offset: int, _length: int) -> bytes:
        raise OSError(errno.EIO, "gone")

    with pytest.raises(OSError, match="gone"):
        wrong.extract(64 << 20, b"GRDY".ljust(65536), read)
    assert ask(wrong, FINE).facts


def test_another_worker_takes_over_after_a_number_of_files(make_worker: WorkerMaker) -> None:
    worker = make_worker(wrong=1, bounds=Bounds(files=2))
    ids = set()
    for _ in range(4):
        assert ask(worker, FINE).facts
        assert worker._process is not None
        ids.add(worker._process.pid)
    assert len(ids) == 2


def test_one_that_somebody_killed_is_replaced(wrong: WorkerProcess) -> None:
    assert ask(wrong, FINE).facts
    assert wrong._process is not None
    wrong._process.kill()
    wrong._process.wait()
    assert ask(wrong, FINE).facts
    assert wrong.ended == 0


def test_a_program_that_does_not_begin_is_told() -> None:
    worker = WorkerProcess(["/bin/false"])
    with pytest.raises(WorkerFailed, match="does not begin to work"):
        worker.start()
    with pytest.raises(WorkerFailed, match="cannot be started"):
        WorkerProcess(["/no/such/program"]).start()


def test_a_file_that_nobody_knows_is_looked_at_again_with_other_extractors(
    make_worker: WorkerMaker,
) -> None:
    found = [ask(make_worker(wrong=version), b"nothing known") for version in (1, 2)]
    assert [each.facts for each in found] == [{}, {}]
    assert [each.error for each in found] == [None, None]
    assert found[0].extractor != found[1].extractor
