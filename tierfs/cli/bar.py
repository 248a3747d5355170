"""The progress bar of commands that take a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def bar(counted: str) -> Progress:
    """A bar on standard error, if that is a terminal, that vanishes at its end.

    ``counted`` shows how far it is, from the task's ``completed`` and fields; a field ``done``
    says the same in bytes.
    """
    console = Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(counted),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
