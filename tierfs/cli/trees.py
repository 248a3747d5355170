"""What ``tierfs adopt`` and ``tierfs export`` show of a tree: progress, and what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tierfs.cli.messages import counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode, UsageError, printable
from tierfs.common.tree_report import Report, Watch
from tierfs.common.units import format_size


def required(paths: tuple[Path, ...], least: int, most: int, wanted: str) -> tuple[Path, ...]:
    """The paths, of which there must be ``least`` to ``most``.

    Raises:
        UsageError: they are not.
    """
    if not least <= len(paths) <= most:
        raise UsageError(f"this needs {wanted}: see --help")
    return paths


@contextmanager
def watched(doing: str) -> Iterator[Watch]:
    """A progress bar on standard error if that is a terminal."""
    with progress_bar("{task.completed:,.0f} files") as progress:
        task = progress.add_task(doing, total=None, done="")

        def watch(report: Report) -> None:
            copied = f"{format_size(report.copied_bytes)} copied" if report.copied else ""
            progress.update(task, completed=report.done, done=copied)

        yield watch


def show(report: Report, done: str, began: float, *, as_json: bool) -> int:
    """Print the figures, of JSON for scripts, and the first problems; returns the exit code.

    ``done``: what was done, as in "adopted"; ``began``: when, as ``time.monotonic``.
    """
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps({"seconds": round(seconds, 3), **report.record()}, indent=2))
    else:
        click.echo("\n".join(_lines(report, f"{done} {{}} in {seconds:.1f} s".format)))
        for path, reason in report.problems:
            click.echo(f"tierfs: {printable(path)}: {reason}", err=True)
        if (more := report.errors - len(report.problems)) > 0:
            click.echo(f"tierfs: and {more:,} more problems", err=True)
    return ExitCode.UNEXPECTED if report.errors else ExitCode.OK


def _lines(report: Report, first: Callable[[str], str]) -> Iterator[str]:
    files = report.linked + report.shared + report.copied
    what = [
        counted(files, "file", "files"),
        counted(report.directories, "directory", "directories"),
    ]
    if report.links:
        what.append(counted(report.links, "hard link", "hard links"))
    if report.others:
        what.append(counted(report.others, "link or special file", "links and special files"))
    yield first(", ".join(what))
    if report.copied:
        size = format_size(report.copied_bytes)
        yield f"{counted(report.copied, 'file', 'files')} copied ({size})"
    if report.shared:
        yield f"{counted(report.shared, 'file', 'files')} share blocks with the disk tier"
    if report.present:
        yield f"{counted(report.present, 'was', 'were')} there already"
    if report.excluded:
        yield f"{counted(report.excluded, 'name', 'names')} left out by --exclude"
    if report.errors:
        yield f"left out, or not with all that belongs to it: {report.errors:,}"
