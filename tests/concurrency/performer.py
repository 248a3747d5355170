"""One process of a run: python -m tests.concurrency.performer ROOT NUMBER HEAD FILESYSTEM.

It says "ready". Then `{"free": [call, ...], "moments": [...]}` makes it say "loaded", wait for the
start, which it is told in monotonic nanoseconds, do each call at its moment or as soon as it can,
and write one event for each. `{"call": call, "at": ...}` makes it do that call, say "held" and wait
for `"end"` before it writes the event, so that a conductor decides which calls overlap. Each
message is a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.concurrency.aside import Aside
from tests.concurrency.calls import CALLS, Call, Event, perform
from tests.concurrency.directory import SharedDirectory
from tests.concurrency.faulty import FAULTS

PAUSE = 0.002
"""Seconds that a faulty filesystem takes in the middle of a call where nobody conducts it."""

SPIN = 300_000
"""Nanoseconds before a call in which its process does not sleep."""

HONEST = "real"
"""The filesystem as it is; other names are those of FAULTS."""


class Performer:
    """Does what it is told, and notes when."""

    def __init__(self, root: Path, number: int, head: int, filesystem: str) -> None:
        self._number = number
        self._held = self._conducted = False
        self._aside = Aside(root, number, head)
        folder = root / "shared"
        self._shared = (
            SharedDirectory(folder)
            if filesystem == HONEST
            else FAULTS[filesystem](folder, self.hold)
        )

    def serve(self) -> None:
        """Obey until the end of the input."""
        for line in sys.stdin:
            message = json.loads(line)
            if "free" in message:
                self._run([call_of(call) for call in message["free"]], message["moments"])
            else:
                self._conducted, self._held = True, False
                call = call_of(message["call"])
                _wait_until(message["at"])
                event = self._do(call)
                self.hold()
                _say(asdict(event))
        self._shared.leave()
        self._aside.leave()

    def _run(self, calls: list[Call], moments: list[int]) -> None:
        self._conducted = False
        _say("loaded")
        start_ns = json.loads(sys.stdin.readline())
        events = []
        for call, moment in zip(calls, moments, strict=True):
            _wait_until(start_ns + moment)
            events.append(self._do(call))
        for event in events:
            _say(asdict(event))

    def hold(self) -> None:
        """Wait for the word that the call under way may end; only once a call."""
        if not self._conducted:
            time.sleep(PAUSE)
        elif not self._held:
            self._held = True
            _say("held")
            sys.stdin.readline()

    def _do(self, call: Call) -> Event:
        began = time.monotonic_ns()
        shared = call.name in CALLS
        outcome = perform(self._shared, call) if shared else self._aside.perform(call)
        return Event(self._number, began, time.monotonic_ns(), call, outcome)


def _wait_until(moment_ns: int) -> None:
    """Wait without sleep, which would take longer than most calls do; only the last stretch."""
    while (left := moment_ns - time.monotonic_ns()) > 0:
        if left > SPIN:
            time.sleep((left - SPIN) / 1e9)


def call_of(fields: dict[str, Any]) -> Call:
    """A call from JSON, which knows no tuples."""
    paths, numbers = tuple(fields["paths"]), tuple(fields["numbers"])
    return Call(fields["name"], paths, fields["handle"], numbers)


def event_of(fields: dict[str, Any]) -> Event:
    """An event from JSON."""
    return Event(**{**fields, "call": call_of(fields["call"])})


def _say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be one process."""
    os.umask(0)  # the model knows none
    root, number, head, filesystem = sys.argv[1:]
    performer = Performer(Path(root), int(number), int(head), filesystem)
    _say("ready")
    performer.serve()


if __name__ == "__main__":
    main()
