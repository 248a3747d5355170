"""``tierfs warm``: files into the kernel's memory before they are needed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tierfs.base.errors import ExitCode
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.cli.bar import bar
from tierfs.cli.given import listed, named, require_files, takes_files
from tierfs.cli.messages import counted
from tierfs.cli.status import aligned
from tierfs.cli.verb import Verb
from tierfs.warming.tally import Sum, Tally
from tierfs.warming.warm import JOBS, Plan, Watch, warm

EXAMPLES = """
tierfs warm /mnt/images/train
find /mnt/images -name '*.jpg' -print0 | tierfs warm -0 -
tierfs warm --tails - < epoch.txt
tierfs warm --check /mnt/images/train
"""


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="warm",
    short_help="Read files into memory before they are used.",
)
@takes_files
@click.option("--tails", is_flag=True, help="Whole files, not only their heads.")
@click.option("--check", is_flag=True, help="Read nothing; exit code 0 if all is warm, else 1.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Files read at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(
    paths: tuple[str, ...], *, null: bool, tails: bool, check: bool, jobs: int, as_json: bool
) -> int:
    """Bring names, attributes and heads of files into the kernel's memory, in disk order.

    PATH is a file or directory of a tierfs mount; - is a list of files on standard input.
    A directory is gone through with all below it, except in a list. Symbolic links below it
    or in a list are not followed. A file of a list that is in no tierfs mount is an error (exit
    code 6), as when the volume is not mounted.
    """
    require_files("warm", paths, null=null)
    began = time.monotonic()
    with _bar(check=check) as watch:
        plan = Plan(tails=tails, check=check, jobs=jobs)
        tally = warm(named(paths), listed(paths, null=null), plan, watch)
    seconds = time.monotonic() - began
    done = tally.is_warm(tails=tails) if check else not tally.errors
    if as_json:
        click.echo(json.dumps(record(tally, seconds, tails=tails), indent=2))
    else:
        click.echo("\n".join(summary(tally, seconds)))
    if tally.interrupted:
        raise click.Abort
    if tally.foreign:
        return ExitCode.NOT_MOUNTED
    return ExitCode.OK if done else ExitCode.UNEXPECTED


@contextmanager
def _bar(*, check: bool) -> Iterator[Watch]:
    """A progress bar on standard error if that is a terminal."""
    shown = "{task.completed:,.0f} of {task.fields[found]:,.0f} files found"
    with bar(shown) as progress:
        task = progress.add_task("checking" if check else "warming", total=None, found=0, done="")

        def watch(tally: Tally) -> None:
            progress.update(
                task,
                total=max(tally.found, 1),
                completed=_ended(tally),
                found=tally.found,
                done=format_size(tally.head.warm_bytes + tally.tail.warm_bytes),
            )

        yield watch


def _ended(tally: Tally) -> int:
    """Files that need no more work, as far as the bar goes: errors may be of directories."""
    return min(tally.files + tally.errors, tally.found)


def record(tally: Tally, seconds: float, *, tails: bool) -> dict[str, Any]:
    """The tally for JSON."""
    return {
        "warm": tally.is_warm(tails=tails),
        "interrupted": tally.interrupted,
        "seconds": round(seconds, 3),
        "directories": tally.directories,
        "metadata": {"files": tally.files, "warm_files": tally.warm_names},
        "heads": _sum_record(tally.head),
        "tails": _sum_record(tally.tail),
        "skipped": dict(tally.skipped),
        "errors": tally.errors,
        "problems": [
            {"path": os.fsdecode(path), "reason": reason} for path, reason in tally.problems
        ],
    }


def _sum_record(part: Sum) -> dict[str, int]:
    return {
        "files": part.files,
        "warm_files": part.warm_files,
        "bytes": part.bytes,
        "warm_bytes": part.warm_bytes,
    }


def summary(tally: Tally, seconds: float) -> list[str]:
    """The tally for people."""
    ended = "interrupted after" if tally.interrupted else "in"
    rate = int(tally.files / max(seconds, 1e-3))
    return [
        *aligned(table(tally), numbers=4),
        f"{_amount(tally)} {ended} {seconds:.1f} s, {rate:,} files a second",
        *(f"left alone: {count:,} {kind}" for kind, count in tally.skipped.most_common()),
        *_problems(tally),
    ]


def _amount(tally: Tally) -> str:
    files = counted(tally.files, "file", "files")
    folders = counted(tally.directories, "directory", "directories")
    return f"{files} and {folders}" if tally.directories else files


def table(tally: Tally) -> list[tuple[str, ...]]:
    """A row for metadata, heads and tails, below their headings."""
    names = (f"{tally.files:,}", f"{tally.warm_names:,}", "", "")
    return [
        ("", "files", "warm", "bytes", "warm"),
        ("metadata", *names),
        ("heads", *_cells(tally.head)),
        ("tails", *_cells(tally.tail)),
    ]


def _cells(part: Sum) -> tuple[str, ...]:
    counts = (f"{part.files:,}", f"{part.warm_files:,}")
    return (*counts, format_size(part.bytes), format_size(part.warm_bytes))


def _problems(tally: Tally) -> list[str]:
    if not tally.errors:
        return []
    told = [f"  {printable(path)}: {reason}" for path, reason in tally.problems]
    more = tally.errors - len(told)
    return [f"errors: {tally.errors:,}", *told, *([f"  and {more:,} more"] if more else [])]
