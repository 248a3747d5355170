"""What the tests of the guards share: a pytest run of their own, under one guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

RunUnder = Callable[[str, str], pytest.RunResult]


@pytest.fixture
def run_under(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunUnder:
    """Run the tests in a source text under one guard, in a process of their own."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def run(guard: str, source: str) -> pytest.RunResult:
        pytester.makeconftest(f"pytest_plugins = ['tests.guards.{guard}']")
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess(timeout=60)

    return run
