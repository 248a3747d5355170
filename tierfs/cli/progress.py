"""The progress of commands that take a while: on standard error, and only on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tierfs.cli.command import QUIET

UNTOLD_S: Final = 1.0
"""What is done by then needs no progress."""


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
        redirect_stdout=sys.stdout.isatty(),  # else results would go to the terminal, not there
        disable=not _is_wanted(console),
    )


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """Show after a second that something is under way whose end is not known, and for how long."""
    console = Console(stderr=True, highlight=False)
    if not _is_wanted(console):
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    )
    progress.add_task(what, total=None)
    timer = threading.Timer(UNTOLD_S, progress.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


def _is_wanted(console: Console) -> bool:
    context = click.get_current_context(silent=True)
    return console.is_terminal and not (context is not None and context.meta.get(QUIET))
