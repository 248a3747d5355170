"""``tierfs bench stream``: write and read one large file."""

from __future__ import annotations

import click

from tierfs.base.errors import UsageError
from tierfs.base.units import format_size
from tierfs.bench.stream import STEP, Stream
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import run
from tierfs.cli.bench.types import SIZE
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench stream /mnt/images --native /nvme/plain
tierfs bench stream /mnt/images --size 4GiB --repeat 3
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="stream", short_help="Read and write a large file.")
@click.option("--size", type=SIZE, default="1GiB", show_default=True, help="Of the file.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the random places.")
@measured
def command(setup: Setup, *, size: int, seed: int) -> None:
    """Write a large file, read one from start to end three times, and read it at random places.

    The first read and the random reads begin with cold caches.
    """
    if size < STEP or size % STEP:
        raise UsageError(f"--size {format_size(size)}: choose a multiple of {format_size(STEP)}")
    title = f"Streams: a file of {format_size(size)}, 1 process, {format_size(STEP)} a call"
    run(title, [Stream(size, seed)], setup)
