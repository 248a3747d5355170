"""``tierfs bench spinning-disk``: what tierfs gains on a simulated spinning disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from tierfs.bench.framework.report import Report
from tierfs.bench.framework.runner import Conditions
from tierfs.bench.loader import Training
from tierfs.bench.spindle_model import assumptions
from tierfs.bench.spinning import LARGE_IMAGES, SMALL_IMAGES, Plan, training, waiting
from tierfs.bench.suite.stage import NO_FASTPATH, stage
from tierfs.cli.bench.options import Output
from tierfs.cli.bench.show import say, show, write
from tierfs.cli.bench.spindle import drive_of, drive_options
from tierfs.cli.bench.types import DIRECTORY, FILE
from tierfs.cli.verb import Verb
from tierfs.mount.interpreter import module_command

SHM: Final = "/dev/shm"  # noqa: S108 - only the parent for mkdtemp
PARTS: Final = ("files", "training", "large-training")
DRIVE_WORDS: Final = (
    *("rpm", "settle", "seek", "full_seek", "rate"),
    *("read_ahead", "capacity", "order", "scale"),
)
EXAMPLES = """
tierfs bench spinning-disk --chart disk.svg
tierfs bench spinning-disk --only files --repeat 3 --json disk.json
tierfs bench spinning-disk --only training --rpm 5400 --step 80
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="spinning-disk", short_help="Compare with a simulated disk."
)
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only these; repeatable.")
@click.option("--files", type=click.IntRange(20), default=1000, show_default=True)
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
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option("--pin", type=click.IntRange(0), metavar="CORE", help="Keep all on one core.")
@click.option("--no-fastpath", is_flag=True, help="Mount through pyfuse3 alone.")
@click.option("--dir", "place", type=DIRECTORY, default=SHM, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
@click.option("--chart", "chart_file", type=FILE, help="Draw an SVG chart to this file.")
@drive_options
def command(*, only: tuple[str, ...], **given: object) -> None:
    """Read files, and train on images, from a simulated disk alone and from tierfs upon one.

    Two simulated drives, a volume with flash in memory, and the data are made in a new directory;
    all is unmounted and deleted in the end, and after Ctrl-C. Run it as root: nobody else can drop
    the kernel's caches.
    """
    output = _output(given)
    reports = []
    for report in _reports(_plan(given), only or PARTS):
        show(report)
        reports.append(report)
    write(reports, output)


def _reports(plan: Plan, only: Sequence[str]) -> Iterator[Report]:
    if "files" in only:
        with stage() as made:
            yield waiting(plan, made, say)
    for part, sizes in (("training", SMALL_IMAGES), ("large-training", LARGE_IMAGES)):
        if part in only:
            with stage() as made:
                yield training(plan, made, sizes, say)


def _output(given: dict[str, Any]) -> Output:
    """Raises UsageError for a file that could not be written."""
    output = Output(given.pop("json_file"), given.pop("chart_file"))
    output.check()
    return output


def _plan(given: dict[str, Any]) -> Plan:
    """Raises UsageError for a drive that cannot be."""
    words = [f"--{word.replace('_', '-')}={given[word]}" for word in DRIVE_WORDS]
    spindle = drive_of(given)
    for line in assumptions(spindle):
        say(line)
    return Plan(
        program=module_command("tierfs"),
        place=given["place"],
        drive=words,
        mount=[NO_FASTPATH] if given["no_fastpath"] else [],
        geometry=spindle.geometry,
        conditions=Conditions(given["repeat"], given["pin"]),
        files=given["files"],
        batches=given["batches"],
        training=Training(given["batch"], given["step"] / 1e3, given["workers"]),
    )
