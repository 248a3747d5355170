"""The daemon's log, and what in it fails a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

LEVEL = re.compile(r"\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
BAD = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback \(most recent call last\)")


class DaemonLog:
    """The log file of one volume's daemons, which may be several, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._allowed: list[re.Pattern[str]] = []
        self._seen = 0

    def allow(self, pattern: str) -> None:
        """Records with an error are no failure when they match the regular expression."""
        self._allowed.append(re.compile(pattern))

    def forget(self) -> None:
        """Allow nothing any longer, and let what has been logged so far be."""
        self._allowed.clear()
        self.problems()

    def text(self) -> str:
        """The whole log; empty while there is none."""
        if not self.path.exists():
            return ""
        return self.path.read_text(encoding="utf-8", errors="replace")

    def problems(self) -> list[str]:
        """Records with an error or a traceback that no pattern allows, since the last call."""
        records = list(_records(self.text()))
        fresh, self._seen = records[self._seen :], len(records)
        return [record for record in fresh if BAD.search(record) and not self._is_allowed(record)]

    def check(self) -> None:
        """Raise AssertionError with the log's unexpected errors, if it has any new ones."""
        problems = self.problems()
        assert not problems, "the daemon logged errors:\n" + "\n".join(problems)

    def _is_allowed(self, record: str) -> bool:
        return any(pattern.search(record) for pattern in self._allowed)


def _records(text: str) -> Iterator[str]:
    """A record starts at a line that names a level; a traceback belongs to the line before it."""
    record: list[str] = []
    for line in text.splitlines():
        if LEVEL.search(line) and record:
            yield "\n".join(record)
            record = []
        record.append(line)
    if record:
        yield "\n".join(record)
