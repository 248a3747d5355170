"""``tierfs bench whole-file``: how long programs wait for all of a file."""

from __future__ import annotations

import click

from tierfs.bench.first_byte import whole_file
from tierfs.bench.mixed import mostly_small
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import run
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench whole-file /mnt/images --native /raid/plain --baseline native
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="whole-file", short_help="Wait for whole files.")
@click.option("--files", type=click.IntRange(20), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides sizes and content.")
@measured
def command(setup: Setup, *, files: int, seed: int) -> None:
    """Open files in random order, with cold caches, and read each to its end.

    Of each five files four have at most 64 KiB, and one has up to 1 MiB.
    """
    title = f"Time to read a whole file: {files:,} files, 80 % of them at most 64KiB"
    run(title, [whole_file(mostly_small(files, seed))], setup)
