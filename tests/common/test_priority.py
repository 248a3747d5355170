"""The priority of long work, tried in processes of their own: a lowered one stays lowered."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.scheduling import shortest_slice, slice_of
from tierfs.common.priority import (
    LONGEST_REST_S,
    LOW,
    LOWEST,
    MIN_SHARE,
    STARVATION_S,
    Pace,
    lower_priority,
    scheduled,
)

SHOW = "print(os.getpriority(os.PRIO_PROCESS, 0))"


def nice_after(call: str) -> int:
    """Of a process with a session of its own, as the autogroup is to be its own."""
    code = f"import os; from tierfs.common.priority import *; {call}\n{SHOW}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    return int(done.stdout)


def test_a_process_gets_the_nice_value() -> None:
    assert nice_after("lower_priority()") == LOWEST
    assert nice_after("lower_priority(LOW)") == LOW


def test_another_process_gets_a_lower_priority() -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        lower_priority(LOW, other.pid)
        assert os.getpriority(os.PRIO_PROCESS, other.pid) == LOW
        assert slice_of(other.pid) == shortest_slice()
        autogroup = Path(f"/proc/{other.pid}/autogroup")
        words = autogroup.read_text().split() if autogroup.exists() else []
        assert words[-1:] in ([str(LOW)], [])
        other.kill()


def test_a_program_gives_way_to_others_of_its_session() -> None:
    assert nice_after("give_way()") == LOW
    assert nice_after("os.nice(15); give_way()") == 15


@pytest.mark.parametrize(
    ("ran", "waited", "nice"),
    [
        (0.0, STARVATION_S, LOW),
        (0.0, STARVATION_S / 2, LOWEST),
        (2 * MIN_SHARE * STARVATION_S, STARVATION_S, LOWEST),
    ],
)
def test_a_process_that_starves_gets_a_higher_priority(
    ran: float, waited: float, nice: int
) -> None:
    times = f"iter([(0, 0), ({ran}, {waited})]).__next__"
    assert nice_after(f"lower_priority(); StarvationGuard({times}).check()") == nice


def test_a_process_that_works_after_it_starved_is_left_alone() -> None:
    times = f"iter([(0, 0), (0, {STARVATION_S}), ({STARVATION_S}, {STARVATION_S})]).__next__"
    guard = f"guard = StarvationGuard({times})"
    assert nice_after(f"{guard}; assert guard.check() and not guard.check()") == LOW


def test_how_long_a_thread_has_run_and_waited_for_a_core(tmp_path: Path) -> None:
    (tmp_path / "schedstat").write_text("1500000000 250000000 17\n")
    assert scheduled(tmp_path) == (1.5, 0.25)


def test_where_linux_does_not_count_a_thread_never_waits(tmp_path: Path) -> None:
    before = time.thread_time()
    ran, waited = scheduled(tmp_path)
    assert before <= ran <= time.thread_time()
    assert waited == 0


def test_linux_says_how_long_a_thread_ran_and_waited() -> None:
    before, start = scheduled(), time.thread_time()
    while time.thread_time() - start < 0.05:
        pass
    ran, waited = scheduled()
    assert ran - before[0] > 0.04
    assert waited >= before[1]


def test_a_starving_process_is_noticed_while_it_works() -> None:
    watch = "lower_priority(); StarvationGuard(iter([(0, 0), (0, 9)]).__next__).watch()"
    work = "while os.getpriority(os.PRIO_PROCESS, 0) != LOW: pass"
    assert nice_after(f"{watch}\n{work}") == LOW


def test_long_work_rests_as_long_as_it_works() -> None:
    used, rests = 1.0, list[float]()
    pace = Pace(lambda: used, rests.append)
    pace.rest()
    for worked in (0.25, 0.5, 100.0):
        used += worked
        pace.rest()
    assert rests == [0.25, 0.5, LONGEST_REST_S]


def test_a_step_is_worked_between_two_rests() -> None:
    used, rests = 0.0, list[float]()
    pace = Pace(lambda: used, rests.append, step=0.5)
    for _ in range(12):
        used += 0.25
        pace.rest()
    assert rests == [0.75] * 4


def test_what_was_worked_before_a_beginning_does_not_count() -> None:
    used, rests = 0.0, list[float]()
    pace = Pace(lambda: used, rests.append)
    used = 9.0
    pace.begin()
    pace.rest()
    assert not rests
