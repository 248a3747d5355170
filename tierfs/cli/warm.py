"""``tierfs warm``: load files into the kernel's memory before they are needed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tierfs.cli.command import Command, may_be_quiet
from tierfs.cli.files import listed, named, require_files, takes_files
from tierfs.cli.messages import aligned, counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode, printable
from tierfs.common.units import format_size
from tierfs.prewarm.counts import Counts, PartCounts
from tierfs.prewarm.warm import JOBS, Plan, Watch, warm

EXAMPLES = """
tierfs warm /mnt/images/train
find /mnt/images -name '*.jpg' -print0 | tierfs warm -0 -
tierfs warm --tails - < epoch.txt
tierfs warm --check /mnt/images/train
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="warm",
    short_help="Read files into memory before they are used.",
)
@takes_files
@click.option("--tails", is_flag=True, help="Read whole files, not only their heads.")
@click.option(
    "--check", is_flag=True, help="Read nothing; exit code 0 if everything is warm, else 1."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Files read at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@may_be_quiet
def command(
    paths: tuple[str, ...], *, null: bool, tails: bool, check: bool, jobs: int, as_json: bool
) -> int:
    """Load names, attributes and heads of files into the kernel's memory, in disk order.

    PATH is a file or directory of a tierfs mount; - reads a list of files from standard input.
    Directories are read recursively, except those in a list. Symbolic links below a directory or in
    a list are not followed. A file of a list that is in no tierfs mount is an error (exit code 6),
    such as when the volume is not mounted.
    """
    require_files("warm", paths, null=null)
    began = time.monotonic()
    with _bar(check=check) as watch:
        plan = Plan(tails=tails, check=check, jobs=jobs)
        counts = warm(named(paths), listed(paths, null=null), plan, watch)
    seconds = time.monotonic() - began
    done = counts.is_warm(tails=tails) if check else not counts.errors
    if as_json:
        click.echo(json.dumps(record(counts, seconds, tails=tails), indent=2))
    else:
        click.echo("\n".join(summary(counts, seconds)))
    if counts.interrupted:
        raise click.Abort
    if counts.foreign:
        return ExitCode.NOT_MOUNTED
    return ExitCode.OK if done else ExitCode.UNEXPECTED


@contextmanager
def _bar(*, check: bool) -> Iterator[Watch]:
    """A progress bar on standard error if that is a terminal."""
    shown = "{task.completed:,.0f} of {task.fields[found]:,.0f} files found"
    with progress_bar(shown) as progress:
        task = progress.add_task("checking" if check else "warming", total=None, found=0, done="")

        def watch(counts: Counts) -> None:
            progress.update(
                task,
                total=max(counts.found, 1),
                completed=_ended(counts),
                found=counts.found,
                done=format_size(counts.head.warm_bytes + counts.tail.warm_bytes),
            )

        yield watch


def _ended(counts: Counts) -> int:
    """Files that are done, for the bar; errors may be of directories, hence the bound."""
    return min(counts.files + counts.errors, counts.found)


def record(counts: Counts, seconds: float, *, tails: bool) -> dict[str, Any]:
    """The counts for JSON."""
    return {
        "warm": counts.is_warm(tails=tails),
        "interrupted": counts.interrupted,
        "seconds": round(seconds, 3),
        "directories": counts.directories,
        "metadata": {"files": counts.files, "warm_files": counts.warm_names},
        "heads": _sum_record(counts.head),
        "tails": _sum_record(counts.tail),
        "skipped": dict(counts.skipped),
        "errors": counts.errors,
        "problems": [
            {"path": os.fsdecode(path), "reason": reason} for path, reason in counts.problems
        ],
    }


def _sum_record(part: PartCounts) -> dict[str, int]:
    return {
        "files": part.files,
        "warm_files": part.warm_files,
        "bytes": part.bytes,
        "warm_bytes": part.warm_bytes,
    }


def summary(counts: Counts, seconds: float) -> list[str]:
    """The counts for people."""
    ended = "interrupted after" if counts.interrupted else "in"
    rate = int(counts.files / max(seconds, 1e-3))
    amount = counted(counts.files, "file", "files")
    if counts.directories:
        amount += f" and {counted(counts.directories, 'directory', 'directories')}"
    lines = [
        *aligned(table(counts), numbers=4),
        f"{amount} {ended} {seconds:.1f} s, {rate:,} files a second",
        *(f"skipped: {count:,} {kind}" for kind, count in counts.skipped.most_common()),
    ]
    if counts.errors:
        lines.append(f"errors: {counts.errors:,}")
        lines += [f"  {printable(path)}: {reason}" for path, reason in counts.problems]
        if more := counts.errors - len(counts.problems):
            lines.append(f"  and {more:,} more")
    return lines


def table(counts: Counts) -> list[tuple[str, ...]]:
    """A row for metadata, heads and tails, below their headings."""
    names = (f"{counts.files:,}", f"{counts.warm_names:,}", "", "")
    return [
        ("", "files", "warm", "bytes", "warm"),
        ("metadata", *names),
        ("heads", *_cells(counts.head)),
        ("tails", *_cells(counts.tail)),
    ]


def _cells(part: PartCounts) -> tuple[str, ...]:
    files = (f"{part.files:,}", f"{part.warm_files:,}")
    return (*files, format_size(part.bytes), format_size(part.warm_bytes))
