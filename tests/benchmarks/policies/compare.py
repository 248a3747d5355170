"""What would flash keep, and how often would it be hit? ``python -m tests.benchmarks policies``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from tests.benchmarks.policies import policies, workloads
from tests.benchmarks.policies.simulate import Outcome, Workload, read_log, simulate
from tests.benchmarks.policies.workloads import Shape
from tests.benchmarks.report import Report, Result, look, say, show, write
from tests.benchmarks.scenario import Better, Figure
from tierfs.cli.command import FILE, SIZE
from tierfs.common.errors import UsageError
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import MIB

HITS: Final = Figure("hits", "% of reads")
BYTES: Final = Figure("hits by bytes", "% of bytes")
MOVED: Final = Figure("moved to flash", "MiB", Better.LESS)

REMARKS: Final = (
    "A turn is a seed, and the clock is virtual: these figures are the same on every machine.",
    "belady knows the future; it is exact for reads of files of equal size only.",
)
LOG_REMARK: Final = "Every access of the log counts, the first of each file as well."
WARM_REMARK: Final = "The first pass over the files is not counted: nobody can hit there."


@click.command(name="policies")
@click.option(
    "--workload",
    "names",
    type=click.Choice(list(workloads.MAKERS)),
    multiple=True,
    help="Repeatable.  [default: all]",
)
@click.option(
    "--policy",
    "compared",
    type=click.Choice(list(policies.MAKERS)),
    multiple=True,
    help="Repeatable.  [default: all]",
)
@click.option(
    "--baseline",
    type=click.Choice(list(policies.MAKERS)),
    help="What ratios are taken to.  [default: belady, or the first]",
)
@click.option("--log", type=FILE, help="Replay this access log: SECONDS INODE BYTES a line.")
@click.option("--head", type=SIZE, help="With --log: bytes of a file on flash.  [default: all]")
@click.option("--files", type=click.IntRange(10), default=2000, show_default=True)
@click.option("--reads", type=click.IntRange(10), default=40_000, show_default=True)
@click.option(
    "--rate",
    type=click.IntRange(1, 10**6),
    default=100,
    show_default=True,
    help="Reads a second, of the virtual clock.",
)
@click.option(
    "--flash",
    type=click.FloatRange(0, 100, min_open=True),
    default=25.0,
    show_default=True,
    metavar="PERCENT",
    help="Of the bytes of all files.",
)
@click.option(
    "--sizes",
    type=click.Choice(workloads.SIZES),
    default="heads",
    show_default=True,
    help="64KiB each; half of them smaller; and some whole files of up to 1MiB.",
)
@click.option(
    "--skew",
    type=click.FloatRange(0, 5),
    default=0.9,
    show_default=True,
    help="The exponent of Zipf's law.",
)
@click.option(
    "--known",
    type=click.IntRange(1, 2**26),
    default=policies.KNOWN,
    show_default=True,
    help="Files that the heat table has room for.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="Seeds.")
@click.option("--json", "json_file", type=FILE, help="Write every figure to this file.")
def compare(json_file: Path | None, **options: object) -> None:
    """Compare tierfs's policy with LRU, LFU, S3-FIFO, SIEVE and Belady's optimum.

    Nothing is read or moved: the accesses are made up from a seed, or taken from a log.
    """
    given: dict[str, Any] = options
    compared = given["compared"] or tuple(policies.MAKERS)
    baseline = _baseline(given["baseline"], compared)
    turns, remark = _recorded(given) if given["log"] else _made_up(given)
    results = tuple(_results([_play(turn, compared, given["known"]) for turn in turns]))
    title = f"Replacement policies: flash holds {given['flash']:g} % of the bytes"
    remarks = (*REMARKS, remark)
    report = Report(title, baseline, len(turns), None, look(()), results, remarks)
    show(report)
    write([report], json_file)


Turn = list[tuple[Workload, int]]
"""Workloads, each with the bytes of flash."""

Played = Mapping[tuple[str, str], Outcome]
"""By workload and policy."""


def _baseline(asked: str | None, compared: Sequence[str]) -> str:
    if asked and asked not in compared:
        raise UsageError(f"--baseline {asked} is not one of the policies compared")
    return asked or (policies.OPTIMUM if policies.OPTIMUM in compared else compared[0])


def _recorded(given: Mapping[str, Any]) -> tuple[list[Turn], str]:
    """The accesses of a log, and what must be said of them."""
    if given["names"] or given["repeat"] != 1:
        raise UsageError("--log brings its own accesses: leave --workload and --repeat out")
    log = read_log(given["log"], given["head"] or WHOLE_FILE)
    return [[(log, int(log.stored * given["flash"] / 100))]], LOG_REMARK


def _made_up(given: Mapping[str, Any]) -> tuple[list[Turn], str]:
    """Workloads for each seed, and what must be said of them."""
    if given["head"] is not None:
        raise UsageError("--head is for --log; choose --sizes for made-up files")
    shape = Shape(
        given["files"],
        given["reads"],
        given["rate"],
        given["flash"] / 100,
        given["skew"],
        given["sizes"],
    )
    seeds = range(given["seed"], given["seed"] + given["repeat"])
    return [_turn(given["names"], shape, seed) for seed in seeds], WARM_REMARK


def _turn(names: Sequence[str], shape: Shape, seed: int) -> Turn:
    flash = workloads.flash_for(shape, seed)
    return [(workloads.make(name, shape, seed), flash) for name in names or workloads.MAKERS]


def _play(turn: Turn, compared: Sequence[str], known: int) -> Played:
    played = {}
    for workload, flash in turn:
        say(f"{workload.name}: {len(workload.accesses):,} accesses")
        for name in compared:
            policy = policies.make(name, flash, workload, known)
            played[workload.name, name] = simulate(policy, workload, flash)
    return played


def _results(turns: Sequence[Played]) -> Iterator[Result]:
    for workload in dict.fromkeys(workload for workload, _ in turns[0]):
        for figure in (HITS, BYTES, MOVED):
            for policy in dict.fromkeys(policy for _, policy in turns[0]):
                outcomes = [turn[workload, policy] for turn in turns]
                samples = tuple(_value(figure, outcome) for outcome in outcomes)
                yield Result(workload, figure, policy, samples)


def _value(figure: Figure, outcome: Outcome) -> float:
    if figure is HITS:
        return 100 * outcome.hit_rate
    if figure is BYTES:
        return 100 * outcome.byte_hit_rate
    return outcome.moved / MIB
