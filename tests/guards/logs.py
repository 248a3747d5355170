"""The log guard: a warning or worse that a test did not announce fails the test."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest


class ExpectLog:
    """Collects the records of one test at WARNING and above, and the patterns it announced."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self._required: list[re.Pattern[str]] = []
        self._allowed: list[re.Pattern[str]] = []

    def __call__(self, pattern: str, *, required: bool = True) -> None:
        """Announce records that ``pattern`` finds a match in; ``required``: one must come."""
        (self._required if required else self._allowed).append(re.compile(pattern))

    def problems(self) -> list[str]:
        """One line for each record not announced and each announcement not kept."""
        announced = self._required + self._allowed
        messages = [record.getMessage() for record in self.records]
        unexpected = [
            f"unexpected {record.levelname} from {record.name}: {message}"
            for record, message in zip(self.records, messages, strict=True)
            if not any(pattern.search(message) for pattern in announced)
        ]
        missing = [
            f"nothing was logged that matches {pattern.pattern!r}"
            for pattern in self._required
            if not any(map(pattern.search, messages))
        ]
        return unexpected + missing


class _Collector(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@pytest.fixture(autouse=True)
def expect_log() -> Iterator[ExpectLog]:
    """Fail the test for warnings in its log; call the value with a regex to announce them."""
    expected = ExpectLog()
    collector = _Collector(expected.records)
    root = logging.getLogger()
    root.addHandler(collector)
    yield expected
    root.removeHandler(collector)
    if problems := expected.problems():
        pytest.fail("\n".join(["log guard:", *problems]), pytrace=False)
