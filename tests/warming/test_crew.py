from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from tierfs.warming.crew import Crew


def crew(items: Iterator[int], work: Callable[[int], None], jobs: int = 4) -> Crew[int]:
    return Crew(items, work, jobs, threading.Event())


def test_everything_is_done_once() -> None:
    done: list[int] = []
    crew(iter(range(1000)), done.append).run(lambda: None)
    assert sorted(done) == list(range(1000))


def test_so_many_are_at_work_and_no_more() -> None:
    together = threading.Barrier(3, timeout=20)
    at_work, most = 0, 0
    counting = threading.Lock()

    def work(_item: int) -> None:
        nonlocal at_work, most
        with counting:
            at_work += 1
            most = max(most, at_work)
        together.wait()
        with counting:
            at_work -= 1

    crew(iter(range(30)), work, jobs=3).run(lambda: None)
    assert most == 3


def test_work_is_taken_in_order() -> None:
    """While one job is kept busy by the first item, the other gets all the rest in order."""
    done: list[int] = []
    last = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            assert last.wait(20)
        else:
            done.append(item)
        if item == 99:
            last.set()

    crew(iter(range(100)), work, jobs=2).run(lambda: None)
    assert done == list(range(1, 100))


def test_an_error_ends_it() -> None:
    def work(item: int) -> None:
        if item == 10:
            raise ValueError("ten")

    with pytest.raises(ValueError, match="ten"):
        crew(itertools.count(), work).run(lambda: None)


def test_an_error_of_the_items_ends_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        crew(items(), lambda _item: None).run(lambda: None)


def test_an_interrupt_ends_it() -> None:
    taken: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew(itertools.count(), taken.append).run(interrupt)
    count = len(taken)
    assert threading.active_count() == 1
    assert len(taken) == count
