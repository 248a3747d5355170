"""Measure what tierfs gains on a spinning disk, with two simulated drives in memory.

One drive holds plain files: the disk alone. The other is the disk directory of a volume whose
flash is memory. Each data set gets drives of its own, so that its files fill them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.benchmarks.datasets import images, mostly_small, span
from tests.benchmarks.disk.model import Geometry
from tests.benchmarks.machine import Coldness, drop_kernel_caches
from tests.benchmarks.report import Report
from tests.benchmarks.runner import Conditions, Say, measure
from tests.benchmarks.scenario import Scenario, Side
from tests.benchmarks.stage import Program, Stage
from tests.benchmarks.waiting import (
    ALL,
    FIRST_BYTE,
    FIRST_WHAT,
    LARGE_MEAN,
    LARGE_P99,
    WHOLE_FILE,
    WHOLE_WHAT,
    Loader,
    Training,
    figure_name,
    first_byte,
    whole_file,
)
from tierfs.common.units import KIB

DISK: Final = "disk alone"
TIERFS: Final = "tierfs"
SMALL_IMAGES: Final = (10 * KIB, 60 * KIB)
LARGE_IMAGES: Final = (100 * KIB, 400 * KIB)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and with what.

    ``program`` runs tierfs, ``drive`` are options of the disk simulator; all is made in ``place``.
    """

    program: Program
    place: Path
    drive: Sequence[str]
    geometry: Geometry
    conditions: Conditions
    files: int = 1000
    batches: int = 60
    training: Training = field(default_factory=Training)


def waiting(plan: Plan, stage: Stage, say: Say) -> Report:
    """How long one program waits for files of mixed sizes.

    Raises:
        TierfsError, OSError: as `measure` does, or a mount failed.
    """
    dataset = mostly_small(plan.files)
    title = f"Files from a spinning disk: {plan.files:,}, 80 % of them at most 64KiB, up to 1MiB"
    report = _measured(plan, stage, title, [first_byte(dataset), whole_file(dataset)], say)
    return replace(report, remarks=(*gains(report), *report.remarks))


def gains(report: Report) -> list[str]:
    """How much shorter tierfs makes each wait, all files and large ones, in words."""
    said = []
    for scenario, what in ((FIRST_BYTE, FIRST_WHAT), (WHOLE_FILE, WHOLE_WHAT)):
        for kind in (ALL, LARGE_MEAN, LARGE_P99):
            found = report.find(scenario, figure_name(what, kind), TIERFS)
            ratio = report.ratio_of(found) if found else None
            if ratio is not None:
                share = 100 * (1 / ratio.median - 1)
                said.append(
                    f"{what}, {kind}: {ratio.median:.2f} times shorter from {TIERFS} than from the "
                    f"{DISK}, or {abs(share):.0f} % {'less' if share < 0 else 'more'}"
                )
    return said


def training(plan: Plan, stage: Stage, sizes: tuple[int, int], say: Say) -> Report:
    """How busy a data loader keeps the accelerator with images of ``sizes``.

    Raises:
        TierfsError, OSError: as `measure` does, or a mount failed.
    """
    chosen = plan.training
    dataset = images(plan.batches * chosen.batch, *sizes)
    title = f"Training on images of {span(*sizes)}, {chosen.workers} workers"
    report = _measured(plan, stage, title, [Loader("loader", dataset, chosen)], say)
    return replace(report, remarks=(*report.remarks, explain(plan, dataset.mean)))


def explain(plan: Plan, mean: float) -> str:
    """How the length of a step was chosen, for images of ``mean`` bytes."""
    drive, chosen = plan.geometry, plan.training
    alone = drive.average_seek_s + drive.turn_s / 2 + mean / drive.rate
    most = min(1.0, chosen.step_s / (chosen.batch * alone))
    return (
        f"A batch is {chosen.batch} images and a step {chosen.step_s * 1e3:g} ms: the accelerator "
        f"takes {chosen.batch / chosen.step_s:.0f} images a second. A head that serves them as "
        f"they come needs {alone * 1e3:.1f} ms for each, {1 / alone:.0f} a second, which is "
        f"{most:.0%} of that."
    )


def _measured(
    plan: Plan, stage: Stage, title: str, scenarios: Sequence[Scenario], say: Say
) -> Report:
    home = stage.directory(plan.place)
    plain, below = (stage.drive(home / name, *plan.drive) for name in ("plain", "below"))
    volume = stage.volume(home, TIERFS, plan.program, disk=below.path)

    def chill(directory: Path) -> Coldness:
        below.settle()
        reached = drop_kernel_caches(directory)
        if reached >= Coldness.KERNEL:  # of the whole machine, the drives included
            return reached
        return min(reached, *map(drop_kernel_caches, (plain.path, below.path)))

    sides = [Side(DISK, plain.path, chill), replace(volume, chill=chill)]
    report = measure(title, scenarios, sides, plan.conditions, say)
    turns = plan.conditions.repeat
    done = [_did(name, one.counters(), turns) for name, one in ((DISK, plain), (TIERFS, below))]
    return replace(report, remarks=(*report.remarks, *done))


def _did(side: str, seen: dict[str, float], turns: int) -> str:
    """What the head did, in words."""
    reads = int(seen["reads"])
    if reads < turns:
        return f"{side}: the head had nothing to do"
    parts = ", ".join(
        f"{word} {seen[key] / max(1, reads - int(seen['sequential'])) * 1e3:.1f} ms"
        for word, key in (("seek", "seek_s"), ("rotation", "rotation_s"))
    )
    return (
        f"{side}: the head read {reads / turns:,.0f} times a turn, "
        f"{int(seen['sequential']) / reads:.0%} of them sequential; the others took {parts} in the "
        f"mean; each read waited {seen['queue_s'] / reads * 1e3:.1f} ms for others"
    )
