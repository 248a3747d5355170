"""Histories in files: the first line is the plan, each further line one event."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.concurrency.calls import Event
from tests.concurrency.conductor import Plan
from tests.concurrency.performer import event_of


def folder() -> Path:
    """Where histories of failed runs are kept: `TIERFS_HISTORIES`, or the temporary directory."""
    path = Path(os.environ.get("TIERFS_HISTORIES", tempfile.gettempdir()))
    path.mkdir(parents=True, exist_ok=True)
    return path


def save(plan: Plan, history: list[Event]) -> Path:
    """Write a history to a new file."""
    prefix = f"tierfs-{plan.profile}-{plan.seed}-"
    with tempfile.NamedTemporaryFile(
        "w", dir=folder(), prefix=prefix, suffix=".history.jsonl", delete=False
    ) as file:
        for line in (asdict(plan), *map(asdict, history)):
            file.write(json.dumps(line) + "\n")
    return Path(file.name)


def load(path: Path) -> tuple[Plan, list[Event]]:
    """Read one; ValueError says what is wrong with it."""
    lines = path.read_text().splitlines()
    try:
        plan, *events = map(json.loads, lines)
        return Plan(**plan), [event_of(event) for event in events]
    except (ValueError, TypeError, KeyError) as error:
        message = f"{path} is no saved history: {error}"
        raise ValueError(message) from error


def how_to_replay(path: Path) -> str:
    """The commands that look at a saved history again."""
    program = f"{shlex.quote(sys.executable)} -m tests.concurrency"
    return "\n".join(
        [
            f"the whole history is in {path}",
            f"check it again:   {program} check {shlex.quote(str(path))}",
            f"do it once more:  {program} replay {shlex.quote(str(path))} --attempts 20",
        ]
    )
