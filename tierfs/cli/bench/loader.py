"""``tierfs bench loader``: how busy a data loader keeps an accelerator."""

from __future__ import annotations

import click

from tierfs.base.errors import UsageError
from tierfs.bench.loader import Loader, Training
from tierfs.bench.mixed import CHECK, images, span
from tierfs.cli.bench.options import Setup, measured
from tierfs.cli.bench.show import run
from tierfs.cli.bench.types import SIZE
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs bench loader /mnt/images --native /raid/plain --chart busy.svg
tierfs bench loader /mnt/images --least 100KiB --most 400KiB --step 250
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="loader", short_help="Train on images.")
@click.option("--batches", type=click.IntRange(1), default=60, show_default=True)
@click.option(
    "--batch", type=click.IntRange(1), default=32, show_default=True, help="Images in a batch."
)
@click.option(
    "--step",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    metavar="MS",
    help="What the accelerator takes for a batch.",
)
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True)
@click.option("--least", type=SIZE, default="10KiB", show_default=True, help="Smallest image.")
@click.option("--most", type=SIZE, default="60KiB", show_default=True, help="Largest image.")
@measured
def command(
    setup: Setup, *, batches: int, batch: int, step: float, workers: int, least: int, most: int
) -> None:
    """Read and decode images in random order, with cold caches, for an accelerator.

    The accelerator is simulated: it takes one batch at a time, each for a fixed time.
    """
    if not CHECK < least <= most:
        raise UsageError(f"--least and --most: choose {CHECK + 1} bytes or more, the least first")
    dataset = images(batches * batch, least, most)
    title = f"Training on images of {span(least, most)}, {workers} workers, {step:g} ms a step"
    run(title, [Loader("loader", dataset, Training(batch, step / 1e3, workers))], setup)
