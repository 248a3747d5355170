"""The state machine of tests/model, run by one process of a crowd in a directory of its own."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.concurrency.aside import EXAMPLES, STEPS
from tests.model.driver import TIERFS
from tests.model.machine import FilesystemMachine
from tests.model.native_driver import NativeDriver

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


def run_alone(directory: Path, chosen: int, head: int) -> None:
    """Draw operations from the seed `chosen`; raises what the machine raises at a mismatch."""
    before = os.umask(0)  # the model knows none
    directory.mkdir()

    class Machine(FilesystemMachine):
        def __init__(self) -> None:
            super().__init__(lambda: NativeDriver(directory, TIERFS), head)

    try:
        run_state_machine_as_test(seed(chosen)(Machine), settings=SETTINGS)
    finally:
        os.umask(before)
    directory.rmdir()
