"""How long and how the state machines run.

Without a word they run the same examples every time, few enough for each change.
TIERFS_HYPOTHESIS_EXAMPLES=N runs N new examples a test, for as long as that takes, and shortens
one that fails to the fewest operations, which takes minutes.
"""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test

from tests.model.driver import Driver
from tests.model.machine import FilesystemMachine

KIB = 1024
SMALL_HEAD = 4 * KIB
"""The smallest head that a volume may have."""
USUAL_HEAD = 64 * KIB
"""The head of a volume that says nothing about it."""

TRIES = 3

_EXAMPLES = os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES")

TIMEOUT_S = 86_400 if _EXAMPLES else 180
"""Seconds that pytest gives a test of the state machine."""


def run_machine(
    make_driver: Callable[[], Driver], boundary: int, *, examples: int, steps: int = 40
) -> None:
    """Hold one kind of driver against the model; `examples` of `steps` operations."""

    agreed = False

    class Machine(FilesystemMachine):
        def __init__(self) -> None:
            nonlocal agreed
            agreed = False
            super().__init__(make_driver, boundary)

        def teardown(self) -> None:
            nonlocal agreed
            super().teardown()
            agreed = self._agreed

    chosen = settings(
        max_examples=int(_EXAMPLES or examples),
        stateful_step_count=steps,
        derandomize=_EXAMPLES is None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if _EXAMPLES else (Phase.generate,),
        deadline=None,
        report_multiple_bugs=False,
        print_blob=_EXAMPLES is not None,
        suppress_health_check=list(HealthCheck),
    )
    for _ in range(TRIES - 1):
        # Now and then, on a busy machine, Hypothesis ends since a run drew less than one with the
        # same beginning. It says the same where the run ended with a failure: that is one.
        try:
            run_state_machine_as_test(Machine, settings=chosen)
        except FlakyStrategyDefinition:
            if not agreed:
                raise
        else:
            return
    run_state_machine_as_test(Machine, settings=chosen)
