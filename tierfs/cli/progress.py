"""The progress bar of commands that take a while."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


def progress_bar(counted: str) -> Progress:
    """A bar on standard error, if that is a terminal; it is removed at the end.

    ``counted`` is a format of what is done, with the task's ``completed`` and its fields; the field
    ``done`` is shown after it.
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
