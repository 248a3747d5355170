"""When the state machine is run again."""

from __future__ import annotations

import pytest
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import RuleBasedStateMachine

from tests.model import running
from tests.model.machine import FilesystemMachine


@pytest.mark.parametrize(("agreed", "runs"), [(True, running.TRIES), (False, 1)])
def test_only_a_run_that_agreed_to_its_end_is_repeated(
    monkeypatch: pytest.MonkeyPatch, *, agreed: bool, runs: int
) -> None:
    made: list[RuleBasedStateMachine] = []

    def start(self: FilesystemMachine, *_: object) -> None:
        self._agreed = agreed

    def run(machine: type[RuleBasedStateMachine], **_: object) -> None:
        made.append(machine())
        made[-1].teardown()
        raise FlakyStrategyDefinition("a run stopped drawing earlier")

    monkeypatch.setattr(FilesystemMachine, "__init__", start)
    monkeypatch.setattr(FilesystemMachine, "teardown", lambda _self: None)
    monkeypatch.setattr(running, "run_state_machine_as_test", run)
    with pytest.raises(FlakyStrategyDefinition):
        running.run_machine(pytest.fail, running.SMALL_HEAD, examples=1)
    assert len(made) == runs
