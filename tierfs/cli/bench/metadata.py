"""``tierfs bench metadata``: look up, stat, walk, and read extended attributes."""

from __future__ import annotations

import click

from tierfs.base.units import format_size
from tierfs.bench.dataset import Dataset
from tierfs.bench.metadata import Metadata, Walks
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import run
from tierfs.cli.bench.types import SIZE
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench metadata /mnt/images --native /nvme/plain
tierfs bench metadata /mnt/images --files 100000 --size 0 --pin 0
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="metadata", short_help="Look up, stat and walk.")
@click.option("--files", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--size", type=SIZE, default="1KiB", show_default=True, help="Of each file.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the random order.")
@measured
def command(setup: Setup, *, files: int, size: int, seed: int) -> None:
    """Look files up, stat them, read extended attributes, and walk the tree with stat.

    Lookups and the walk (`ls -lR`) begin with cold caches and are then done again. One attribute
    is there, and one is not. The data set is made in DIR/tierfs-bench, and used again.
    """
    title = f"Metadata: {files:,} files of {format_size(size)}, random order, 1 process"
    dataset = Dataset(files, size, labelled=True)
    run(title, [Metadata(dataset, seed), Walks(dataset)], setup)
