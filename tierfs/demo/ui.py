"""What a person sees: progress bars and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tierfs.base.units import format_size

Advance = Callable[[int], None]
"""Called with the number of bytes that were done since the last call."""

PLAIN_WIDTH = 100
"""Columns of a table in a log or pipe, where nobody says how wide it may be."""


def make_console() -> Console:
    """A console on standard output; as wide as the terminal, or fixed where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class Ui:
    """Says what goes on. ``console`` decides whether it is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str = "") -> None:
        """Print ``text`` as it is: file names in it are no markup."""
        self.console.print(text, markup=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step of unknown length: one line when it is over, a spinner on a terminal."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(title):
                yield
        else:
            yield
        self.say(f"{title}: {time.monotonic() - began:.1f} s")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Advance]:
        """A step of ``total`` bytes; yields what to call as they are done."""
        began = time.monotonic()
        if not self.console.is_terminal:
            self.say(f"{title} ...")
        with self._bar() as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.advance(task, done)
        seconds = max(time.monotonic() - began, 1e-3)
        rate = format_size(int(total / seconds))
        self.say(f"{title}: {format_size(total)} in {seconds:.1f} s, {rate} a second")

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table whose first column is text and whose others are numbers."""
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
