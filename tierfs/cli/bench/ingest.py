"""``tierfs bench ingest``: create small files."""

from __future__ import annotations

import click

from tierfs.base.units import format_size
from tierfs.bench.ingest import Ingest
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import count, run
from tierfs.cli.bench.types import SIZE
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench ingest /mnt/images --native /nvme/plain
tierfs bench ingest /mnt/images --files 10000 --size 100KiB --writers 4
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="ingest", short_help="Create small files.")
@click.option("--files", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--size", type=SIZE, default="32KiB", show_default=True, help="Of each file.")
@click.option(
    "--writers", type=click.IntRange(1), default=1, show_default=True, help="Processes that write."
)
@measured
def command(setup: Setup, *, files: int, size: int, writers: int) -> None:
    """Create files, write each in one call, close it. They are deleted in the end."""
    title = f"Ingest: {files:,} new files of {format_size(size)}, {count(writers, 'writer')}"
    run(title, [Ingest(files, size, writers)], setup)
