"""An access log played through several policies at once, each with a flash of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierfs.tiering.access_lines import Beginning, FileFacts, Line, Use
from tierfs.tiering.simulator.access_log import Recording
from tierfs.tiering.simulator.policed import PolicedFlash


@dataclass(slots=True)
class Played:
    """What was in the log: its uses, from ``first`` to ``last`` (ns), and files with facts."""

    uses: int = 0
    first: int = 0
    last: int = 0
    facts: int = 0

    def note(self, line: Line) -> None:
        """Count a line."""
        if isinstance(line, Use):
            self.first = min(self.first, line.time) if self.uses else line.time
            self.last = max(self.last, line.time)
            self.uses += 1
        elif isinstance(line, FileFacts):
            self.facts += 1


def beginning_of(recording: Recording) -> Beginning | None:
    """What the log says of the volume where it begins; None: nothing."""
    for line in recording:
        return line if isinstance(line, Beginning) else None
    return None


def play(recording: Recording, flashes: Sequence[PolicedFlash]) -> Played:
    """Show every line to every flash, in one reading of the log.

    Raises:
        UsageError: the log cannot be read.
    """
    played = Played()
    for line in recording:
        played.note(line)
        for flash in flashes:
            flash.play(line)
    for flash in flashes:
        flash.end()
    return played
