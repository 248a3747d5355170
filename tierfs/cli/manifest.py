"""``tierfs manifest``: a table of all files of a directory, as of one moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.find import SECONDS, directory_of, of_files
from tierfs.cli.messages import counted
from tierfs.cli.rows import Column, format_of, writing
from tierfs.cli.waiting import waiting_for
from tierfs.common.times import system_clock
from tierfs.daemon.control_client import Daemon
from tierfs.query.columns import columns_of
from tierfs.query.compiling import compiled

COLUMNS: Final = (
    *("path", "size", "mtime", "ctime", "btime", "tier", "checksum", "tags", "facts"),
)

EXAMPLES = """
tierfs manifest /mnt/images/train -o train.parquet
tierfs manifest /mnt/images 'user.split = train' -o train.jsonl
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="manifest", short_help="Write a table of all files."
)
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@click.argument("expression", metavar="[EXPRESSION]", default="")
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FILE",
    help="The table: a .parquet, .jsonl or .csv file.",
)
def command(directory: Path, expression: str, *, output: Path) -> None:
    """Write a table of the files in and below DIRECTORY, or those for which EXPRESSION holds.

    Its columns: path (from DIRECTORY), size, times, tier, checksum (where one was taken), every tag
    and every header fact. All of it is of one moment. Only root may ask, and the group of the
    volume file if that says so (control.find).
    """
    compiled(expression, system_clock())
    columns = [Column(one.name, one.kind.shape) for one in columns_of(COLUMNS).fields]
    mount, inode = directory_of(directory)
    top = directory.resolve().relative_to(mount.path).as_posix()
    above = "/" if top == "." else f"/{top}/"
    rows = 0
    with writing(columns, format_of(output), output) as writer, waiting_for("reading the index"):

        def take(some: list[list[Any]]) -> None:
            nonlocal rows
            named = [row for row in some if row[0] is not None]  # others are just being removed
            for row in named:
                row[0] = row[0].removeprefix(above)
            rows += len(named)
            writer.write(named)

        Daemon(mount.path).ask_for_rows(
            "find",
            take,
            seconds=SECONDS,
            expression=of_files(expression),
            top=inode,
            columns=COLUMNS,
            sort="",
            descending=False,
            group_by="",
            limit=0,
            count=False,
            explain=False,
            consistent=True,
        )
    click.echo(f"{counted(rows, 'file', 'files')} in {output}")
