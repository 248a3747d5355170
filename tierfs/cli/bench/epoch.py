"""``tierfs bench epoch``: read a data set of small files, first and again."""

from __future__ import annotations

import click

from tierfs.base.units import format_size
from tierfs.bench.dataset import Dataset
from tierfs.bench.epoch import Epoch
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import count, run
from tierfs.cli.bench.types import SIZE
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench epoch /mnt/images --native /nvme/plain
tierfs bench epoch /mnt/images --readers 4 --versus mergerfs=/mnt/merged --chart epoch.svg
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="epoch", short_help="Read many small files.")
@click.option("--files", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--size", type=SIZE, default="32KiB", show_default=True, help="Of each file.")
@click.option(
    "--readers", type=click.IntRange(1), default=1, show_default=True, help="Processes that read."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the random order.")
@measured
def command(setup: Setup, *, files: int, size: int, readers: int, seed: int) -> None:
    """Open, read and close every file of a data set in random order, cold and again.

    The data set is made in DIR/tierfs-bench and used again by the next run.
    """
    title = (
        f"Epochs: {files:,} files of {format_size(size)}, random order, {count(readers, 'reader')}"
    )
    run(title, [Epoch(Dataset(files, size), readers, seed)], setup)
