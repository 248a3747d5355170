"""Measure, show a table, and write what was asked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tierfs.bench.framework.chart import draw
from tierfs.bench.framework.report import COLUMNS, Report, as_json, rows
from tierfs.bench.framework.runner import measure
from tierfs.bench.framework.scenario import Scenario
from tierfs.bench.framework.side import work_directory
from tierfs.cli.bench.options import Output, Setup

PLAIN_WIDTH = 120
"""Columns of a table in a log or pipe, where nobody says how wide it may be."""
TEXT_COLUMNS = ("figure", "side", "unit")


def run(title: str, scenarios: Sequence[Scenario], setup: Setup) -> None:
    """Measure the scenarios on the sides of ``setup``, and show and write the report.

    Raises:
        TierfsError, OSError: as `measure` does.
    """
    for side in setup.sides:
        click.echo(f"{side.name}: {side.directory}", err=True)
    try:
        report = measure(title, scenarios, setup.sides, setup.conditions, say)
    finally:
        if setup.remove:
            for side in setup.sides:
                shutil.rmtree(work_directory(side), ignore_errors=True)
    show(report)
    write([report], setup.output)


def say(text: str) -> None:
    """A line on standard error about what is done now."""
    click.echo(f"  {text}", err=True)


def show(report: Report) -> None:
    """Print the report as a table."""
    console = make_console()
    table = Table(title=report.title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in TEXT_COLUMNS else "right")
    for row in rows(report):
        table.add_row(*row)
    console.print(table)
    console.print(report.where, markup=False)
    console.print(f"Ratios are to {report.baseline}: above 1 is better.", markup=False)
    for remark in report.remarks:
        console.print(remark, markup=False)


def write(
    reports: Sequence[Report], output: Output, verdicts: Sequence[Mapping[str, object]] = ()
) -> None:
    """Write the JSON and the chart that ``output`` names."""
    if output.json_file:
        output.json_file.write_text(as_json(reports, verdicts), encoding="utf-8")
    if output.chart_file:
        output.chart_file.write_text(draw(reports), encoding="utf-8")


def count(number: int, noun: str) -> str:
    """``1 reader``, ``2 readers``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def make_console() -> Console:
    """A console on standard output; as wide as the terminal, or fixed where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)
