"""The priority of long work, tried in processes of their own: a lowered one stays lowered."""

from __future__ import annotations

import os
import subprocess
import sys

from tierfs.common.priority import MIN_SHARE, STARVATION_S, StarvationGuard

SHOW = "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)"


def shown(call: str) -> list[str]:
    code = f"import os; from tierfs.common.priority import *; {call}; {SHOW}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_a_process_gets_a_nice_value_or_idle_priority() -> None:
    assert shown("lower_priority(idle=False)") == ["10", "False"]
    assert shown("lower_priority(idle=True)") == ["10", "True"]


def test_a_process_that_starves_leaves_idle_priority() -> None:
    now, used = 0.0, 0.0
    guard = StarvationGuard(lambda: now, lambda: used)
    before = os.sched_getscheduler(0)
    assert not guard.check()
    now, used = STARVATION_S, 2 * MIN_SHARE * STARVATION_S
    assert not guard.check()
    now += STARVATION_S / 2
    assert not guard.check()
    now += STARVATION_S
    assert guard.check()
    assert not guard.check()
    assert os.sched_getscheduler(0) == before
