"""``tierfs bench migration``: what readers notice while files are moved at full speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from tierfs.base.errors import UsageError
from tierfs.base.units import KIB, format_size
from tierfs.bench.dataset import Dataset
from tierfs.bench.framework.report import Report
from tierfs.bench.framework.runner import Conditions, measure
from tierfs.bench.migration import LEAST_S, Migration, Pace, volume
from tierfs.bench.suite.stage import NO_FASTPATH, stage
from tierfs.cli.bench.options import Output
from tierfs.cli.bench.show import say, show, write
from tierfs.cli.bench.types import DIRECTORY, FILE, RATE, SIZE
from tierfs.cli.verb import Verb
from tierfs.mount.interpreter import module_command

SHM: Final = "/dev/shm"  # noqa: S108 - only the parent for mkdtemp
TIERFS: Final = "tierfs"
SLOWEST: Final = 64 * KIB
"""Bytes a second: the least that a policy takes."""
FEW_CORES: Final = 4
"""With fewer the reader, the daemon's answers, the mover and the kernel's work share them."""
EXAMPLES = """
tierfs bench migration --json migration.json
tierfs bench migration --rate 50MiB/s --concurrency 4 --pause 0
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="migration", short_help="Read while files move.")
@click.option("--files", type=click.IntRange(1), default=400, show_default=True, help="To move.")
@click.option("--size", type=SIZE, default="1MiB", show_default=True, help="Of each of them.")
@click.option("--read", type=click.IntRange(1), default=2000, show_default=True, help="To read.")
@click.option("--read-size", type=SIZE, default="32KiB", show_default=True, help="Of each of them.")
@click.option("--rate", type=RATE, default="100MiB/s", show_default=True, help="Of the mover.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Files moved at a time.",
)
@click.option(
    "--pause",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="MS",
    help="What the reader rests after each read.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0.1),
    default=6.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it reads while nothing is moved.",
)
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option("--pin", type=click.IntRange(0), metavar="CORE", help="Keep all on one core.")
@click.option("--no-fastpath", is_flag=True, help="Mount through pyfuse3 alone.")
@click.option("--dir", "place", type=DIRECTORY, default=SHM, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
@click.option("--chart", "chart_file", type=FILE, help="Draw an SVG chart to this file.")
def command(*, place: Path, **given: object) -> None:
    """Measure how long reads take, idle and while large files go to flash and back at full speed.

    A volume is made in a new directory, flash and disk beside each other; all is unmounted and
    deleted in the end, and after Ctrl-C. Run it as root, or as whoever may mount.
    """
    output, scenario, conditions, options = _setup(given)
    with stage() as made:
        home = made.directory(place)
        side = volume(made, home, TIERFS, module_command("tierfs"), scenario.pace, *options)
        report = measure(_title(scenario), [scenario], [side], conditions, say)
    report = replace(report, remarks=(*report.remarks, *_remarks(report)))
    show(report)
    write([report], output)


def _setup(given: dict[str, Any]) -> tuple[Output, Migration, Conditions, list[str]]:
    """Raises UsageError for what makes no sense."""
    output = Output(given["json_file"], given["chart_file"])
    output.check()
    conditions = Conditions(given["repeat"], given["pin"])
    return output, _scenario(given), conditions, [NO_FASTPATH] if given["no_fastpath"] else []


def _scenario(given: dict[str, Any]) -> Migration:
    """Raises UsageError for what could not be measured."""
    rate, total = given["rate"], given["files"] * given["size"]
    if rate < SLOWEST:
        raise UsageError(f"--rate: choose {format_size(SLOWEST)}/s or more")
    if not given["read_size"]:
        raise UsageError("--read-size: choose 1 or more")
    if total < LEAST_S * rate:
        raise UsageError(
            f"{format_size(total)} are moved in {total / rate:.1f} s at {format_size(rate)}/s, too "
            f"soon to be measured: choose --files and --size for {LEAST_S:g} s, or less --rate"
        )
    pace = Pace(rate, given["concurrency"], given["pause"] / 1e3, given["idle"])
    large, small = (
        Dataset(given["files"], given["size"]),
        Dataset(given["read"], given["read_size"]),
    )
    return Migration(pace, large, small)


def _title(one: Migration) -> str:
    return (
        f"Reads of {format_size(one.small.size)} while {one.large.files:,} files of "
        f"{format_size(one.large.size)} move at {format_size(one.pace.rate)}/s, "
        f"{one.pace.concurrency} at a time"
    )


def _remarks(report: Report) -> list[str]:
    """What must be known to judge the latencies."""
    cores = report.machine.cores
    if cores >= FEW_CORES and report.pinned is None:
        return []
    shared = "one core" if report.pinned is not None else f"{cores} cores"
    return [f"Reader, daemon and mover share {shared}: reads wait for a processor as well."]
