"""``tierfs bench first-byte``: how long programs wait for the beginning of a file."""

from __future__ import annotations

import click

from tierfs.bench.first_byte import first_byte
from tierfs.bench.mixed import mostly_small
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import run
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench first-byte /mnt/images --native /raid/plain --baseline native
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="first-byte", short_help="Wait for the first 64KiB of files."
)
@click.option("--files", type=click.IntRange(20), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides sizes and content.")
@measured
def command(setup: Setup, *, files: int, seed: int) -> None:
    """Open files in random order, with cold caches, and read the first 64 KiB of each.

    Of each five files four have at most 64 KiB, and one has up to 1 MiB.
    """
    title = f"Time to the first 64KiB of a file: {files:,} files, 80 % of them at most 64KiB"
    run(title, [first_byte(mostly_small(files, seed))], setup)
