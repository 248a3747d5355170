"""``tierfs find``: the files of a mount that an expression holds for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.rows import Column, Format, echo_lines, format_of, writing
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import NotMounted, UsageError
from tierfs.common.times import system_clock
from tierfs.daemon.control_client import Daemon
from tierfs.daemon.mountinfo import Mount, mount_above
from tierfs.query.columns import columns_of
from tierfs.query.compiling import compiled

SECONDS: Final = 3600.0
"""The longest wait for the next row."""

EXAMPLES = """
tierfs find /mnt/images 'size > 1MiB and user.label = mitosis and not pinned'
tierfs find 'name = *.tif and age > 30d' --columns path,size,mtime --sort -size --limit 20
tierfs find /mnt/images 'tier = flash' --group-by owner
tierfs find /mnt/images 'user.label is not set' -0 | xargs -0 ls -l
tierfs find /mnt/images 'image.width >= 2048' --columns path,image.width -o large.parquet
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="find", short_help="Find files by what the index knows."
)
@click.argument("words", metavar="[PATH] [EXPRESSION]", nargs=-1)
@click.option(
    "--columns",
    default="path",
    show_default=True,
    metavar="FIELD,...",
    help="What to show of each file.",
)
@click.option("--sort", metavar="[-]FIELD", default="", help="Sort by a field; -: largest first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show N files at most.")
@click.option("--count", is_flag=True, help="Print only how many there are.")
@click.option("--group-by", metavar="FIELD", default="", help="Count files and bytes by a field.")
@click.option("--explain", is_flag=True, help="Print how the files would be found.")
@click.option("--consistent", is_flag=True, help="Let all rows be of one moment.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option(
    "-0",
    "--null",
    "as_null",
    is_flag=True,
    help="Print the first column, each with a NUL behind it.",
)
@click.option(
    "-o", "--output", type=PATH, metavar="FILE", help="Write to a .csv, .jsonl or .parquet file."
)
def command(  # noqa: PLR0913 - one for each option
    words: tuple[str, ...],
    *,
    columns: str,
    sort: str,
    limit: int | None,
    count: bool,
    group_by: str,
    explain: bool,
    consistent: bool,
    as_json: bool,
    as_csv: bool,
    as_null: bool,
    output: Path | None,
) -> None:
    """Show the files in and below PATH, or the current directory, for which EXPRESSION holds.

    The daemon's index is read, in a process at the lowest priority, and no directory: of millions
    of files that takes seconds. Sizes, times and patterns are written as in the tier policy; the
    page "Expressions" of tierfs's documentation has all fields. An inode counts once, by the name
    that it got last. Only root may ask, and the group of the volume file if that says so
    (control.find).
    """
    top, expression = split(words)
    compiled(expression, system_clock())
    names = tuple(name.strip() for name in columns.split(","))
    shown = [Column(one.name, one.kind.shape) for one in columns_of(names).fields]
    if group_by:
        (field,) = columns_of([group_by]).fields
        shown = [
            Column(group_by, field.kind.shape),
            Column("files", "number"),
            Column("bytes", "size"),
        ]
    if sort:
        columns_of([sort.removeprefix("-")])
    how = chosen(as_json=as_json, as_csv=as_csv, as_null=as_null, output=output)
    mount, inode = directory_of(top)
    daemon = Daemon(mount.path)
    arguments: dict[str, object] = {
        "expression": expression,
        "top": inode,
        "columns": names,
        "sort": sort.removeprefix("-"),
        "descending": sort.startswith("-"),
        "group_by": group_by,
        "limit": limit or 0,
        "count": count,
        "explain": explain,
        "consistent": consistent,
    }
    if count or explain:
        with waiting_for("reading the index"):
            found = daemon.ask("find", seconds=SECONDS, **arguments)
        show(found, as_json=as_json)
        return
    paths = [at for at, column in enumerate(shown) if column.name == "path"]
    with writing(shown, how, output) as writer, waiting_for("reading the index"):

        def take(rows: list[list[Any]]) -> None:
            for at in paths:
                for row in rows:
                    row[at] = mounted(mount, row[at])
            writer.write(rows)

        daemon.ask_for_rows("find", take, seconds=SECONDS, **arguments)


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print a count, or an explanation."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif "count" in found:
        click.echo(found["count"])
    else:
        echo_lines(found["explanation"])


def split(words: tuple[str, ...]) -> tuple[Path, str]:
    """The directory and the expression of a command line: no expression begins with / or a dot.

    Raises:
        UsageError: there is neither.
    """
    if not words:
        raise UsageError("name a directory of a mount, or an expression: see tierfs find --help")
    first, *rest = words
    if first.startswith(("/", ".")) or (rest and Path(first).is_dir()):
        return Path(first), " ".join(rest)
    return Path(), " ".join(words)


def of_files(expression: str) -> str:
    """An expression that holds for regular files alone."""
    return f"type = file and ({expression})" if expression.strip() else "type = file"


def chosen(*, as_json: bool, as_csv: bool, as_null: bool, output: Path | None) -> Format:
    """The format of the rows.

    Raises:
        UsageError: more than one is asked for.
    """
    wanted: list[Format] = []
    if as_json:
        wanted.append("json")
    if as_csv:
        wanted.append("csv")
    if as_null:
        wanted.append("null")
    if output is not None:
        wanted.append(format_of(output))
    if len(wanted) > 1:
        raise UsageError("--json, --csv, --null and --output are one choice")
    return wanted[0] if wanted else "table"


def directory_of(top: Path) -> tuple[Mount, int]:
    """The mount that a directory is in, and its inode number.

    Raises:
        NotMounted: it is in no mount.
        UsageError: it is not there, or no directory.
    """
    try:
        # Path.resolve() raises RuntimeError for a loop of links.
        real = Path(os.path.realpath(top, strict=True))
        status = real.stat()
    except OSError as error:
        raise UsageError(f"{top}: {error.strerror}") from error
    mount = mount_above(real)
    if mount is None or not mount.is_tierfs:
        raise NotMounted(f"{top.absolute()} is not in a tierfs mount")
    if not real.is_dir():
        raise UsageError(f"{top} is not a directory")
    return mount, status.st_ino


def mounted(mount: Mount, path: str | None) -> str | None:
    """A path of a volume below its mountpoint; None: the file is just being removed."""
    if path is None:
        return None
    return os.fspath(mount.path) if path == "/" else f"{os.fspath(mount.path).rstrip('/')}{path}"
