"""Giving way to others, tried in processes of their own: what is given away does not come back."""

from __future__ import annotations

import os
import subprocess
import sys

from tierfs.common.priority import LEAST_SHARE, STARVES_AFTER_S, Patience

SHOW = "print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0) == os.SCHED_IDLE)"


def shown(call: str) -> list[str]:
    code = f"import os; from tierfs.common.priority import *; {call}; {SHOW}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_a_process_comes_after_others_or_takes_what_nobody_wants() -> None:
    assert shown("give_way(idle=False)") == ["10", "False"]
    assert shown("give_way(idle=True)") == ["10", "True"]


def test_patience_ends_when_no_processor_is_ever_free() -> None:
    now, used = 0.0, 0.0
    patience = Patience(lambda: now, lambda: used)
    before = os.sched_getscheduler(0)
    assert not patience.ends()
    now, used = STARVES_AFTER_S, 2 * LEAST_SHARE * STARVES_AFTER_S
    assert not patience.ends()
    now += STARVES_AFTER_S / 2
    assert not patience.ends()
    now += STARVES_AFTER_S
    assert patience.ends()
    assert not patience.ends()
    assert os.sched_getscheduler(0) == before
