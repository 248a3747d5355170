"""``tierfs sql``: read-only SQL on views of the index of a mount."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import DURATION, PATH, Command
from tierfs.cli.find import chosen, directory_of
from tierfs.cli.rows import Column, Writer, writing
from tierfs.cli.waiting import waiting_for
from tierfs.common.units import SECOND
from tierfs.daemon.control_client import Daemon

MARGIN_S: Final = 600
"""For a copy of the index, beside the time of the statement itself."""

EXAMPLES = """
tierfs sql /mnt/images "SELECT value, count(*) FROM tags WHERE name = 'user.label' GROUP BY 1"
tierfs sql /mnt/images "SELECT owner, sum(size) AS bytes FROM files GROUP BY owner" --json
tierfs sql /mnt/images "SELECT * FROM facts WHERE name = 'image.width'" -o widths.parquet
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="sql", short_help="Run read-only SQL on views of the index."
)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=PATH)
@click.argument("statement", metavar="STATEMENT")
@click.option(
    "--timeout",
    type=DURATION,
    default="1min",
    show_default=True,
    metavar="TIME",
    help="End a statement that takes longer, 1h at most.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@click.option(
    "-o", "--output", type=PATH, metavar="FILE", help="Write to a .csv, .jsonl or .parquet file."
)
def command(
    mountpoint: Path,
    statement: str,
    *,
    timeout: int,
    as_json: bool,
    as_csv: bool,
    output: Path | None,
) -> None:
    """Run STATEMENT, a SELECT in SQLite's dialect, on the views files, names, tags and facts.

    The page "Expressions" of tierfs's documentation has their columns. The statement runs in a
    process at the lowest priority, sees the index of one moment, and can change nothing. Only root
    may ask, and the group of the volume file if that says so (control.find).
    """
    how = chosen(as_json=as_json, as_csv=as_csv, as_null=False, output=output)
    mount, _ = directory_of(mountpoint)
    with ExitStack() as stack:
        writer: Writer | None = None

        def take(rows: list[list[Any]]) -> None:
            nonlocal writer
            if writer is None:  # the first row has the names of the columns
                columns = [Column(name, "fact") for name in rows.pop(0)]
                writer = stack.enter_context(writing(columns, how, output))
            writer.write(rows)

        seconds = max(1, timeout // SECOND)
        with waiting_for("reading the index"):
            Daemon(mount.path).ask_for_rows(
                "sql", take, seconds=seconds + MARGIN_S, statement=statement, limit_s=seconds
            )
