"""The acceptance run: stage the sides, and measure every group in every mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from tests.benchmarks import spinning
from tests.benchmarks.changes import OPERATIONS, Changes, Ingest, Mixing, Overwrites, Writes
from tests.benchmarks.daemon import Idle, Memory
from tests.benchmarks.datasets import Dataset
from tests.benchmarks.disk.model import Geometry
from tests.benchmarks.mover import Migration
from tests.benchmarks.reading import Epoch, Metadata, Stream, Walks
from tests.benchmarks.report import Report
from tests.benchmarks.runner import Conditions, Say, measure
from tests.benchmarks.scenario import Scenario, Side
from tests.benchmarks.sides import (
    BEFORE,
    BEFORE_ON_EXT4,
    BINDFS,
    DISK,
    EXT4,
    FLOOR,
    FLOOR_ON_EXT4,
    FREE,
    MERGERFS,
    MOVING,
    NATIVE,
    ON_DISK,
    ON_EXT4,
    PINNED,
    PYTHON,
    TIERFS,
    Settings,
    Sizes,
    make_sides,
)
from tests.benchmarks.stage import Stage, stage
from tests.benchmarks.tree import Tree
from tests.benchmarks.wanted import (
    COLD_TREE,
    EIGHT_MIXING,
    EIGHT_WRITERS,
    FOUR_READERS,
    ONE_MIXING,
    ONE_READER,
    ONE_WRITER,
    TREE,
    UNCACHED,
)
from tierfs.common.errors import TierfsError
from tierfs.common.units import MIB, format_size

EMPTY: Final = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Scenarios that are measured together on some of the sides; the first is the baseline."""

    name: str
    title: str
    scenarios: Sequence[Scenario]
    sides: Sequence[str]
    modes: Sequence[str] = (PINNED, FREE)


SPINNING: Final = "spinning-disk"
CHANGES: Final = (*OPERATIONS, "overwrite", "write", "ingest")
"""One small group each. What one of them makes is not there when the next one is measured."""
ALIASES: Final[Mapping[str, Sequence[str]]] = {"changes": CHANGES}
GROUPS: Final = (
    *CHANGES,
    "crowd",
    TREE,
    COLD_TREE,
    "epoch",
    "readers",
    "metadata",
    "walk",
    "stream",
    "uncached",
    "idle",
    "mover",
    "memory",
    SPINNING,
)


def groups(sizes: Sizes, archive: Path | None = None) -> list[Group]:
    """What is measured, in this order; ``archive``: what is unpacked as a tree."""
    images = Dataset(sizes.files, sizes.file_bytes, labelled=True)
    walked = Dataset(sizes.walked, EMPTY)
    stream = Stream(sizes.stream_bytes)
    one, four = Epoch(images, 1, name=ONE_READER), Epoch(images, 4, name=FOUR_READERS)
    small = f"{sizes.files:,} files of {format_size(sizes.file_bytes)}"
    all_sides = (NATIVE, BEFORE, TIERFS, PYTHON, MERGERFS, BINDFS)
    large = f"a file of {format_size(sizes.stream_bytes)}"
    made = [
        Group("epoch", f"Epochs: {small}", [Epoch(images)], all_sides),
        Group("readers", f"Readers: {small}", [one, four], (NATIVE, BEFORE, TIERFS), (FREE,)),
        Group("metadata", f"Metadata: {small}", [Metadata(images)], all_sides),
        Group(
            "walk",
            f"Walks: {sizes.walked:,} empty files",
            [Walks(walked)],
            (NATIVE, BEFORE, TIERFS, MERGERFS),
        ),
        Group("stream", f"Streams: {large}, in memory below", [stream], (NATIVE, BEFORE, TIERFS)),
        Group(
            "uncached",
            f"Streams: {large}, nothing cached below",
            [Stream(sizes.stream_bytes, name=UNCACHED)],
            (DISK, ON_DISK),
        ),
        *_changes(sizes, (NATIVE, FLOOR, BEFORE, TIERFS, MERGERFS, BINDFS)),
        *_trees(sizes, archive),
        Group("idle", "Idle, after an epoch", [Idle(images)], (TIERFS,), (FREE,)),
        Group(
            "mover",
            f"Reads while {sizes.moved:,} files of 1MiB are moved",
            [Migration(large=Dataset(sizes.moved, MIB))],
            (MOVING,),
            (FREE,),
        ),
    ]
    if sizes.memory_files:
        many = Dataset(sizes.memory_files, EMPTY)
        title = f"Memory: {sizes.memory_files:,} files looked up"
        made.append(Group("memory", title, [Memory(many)], (TIERFS,), (FREE,)))
    return made


def _changes(sizes: Sizes, sides: Sequence[str]) -> list[Group]:
    """A group for each kind of change, and one for several processes."""
    number = f"{sizes.changed:,} times"
    made = [
        Group(name, f"Changes: {name}, {number}", [Changes(name, sizes.changed)], sides)
        for name in OPERATIONS
    ]
    large = format_size(sizes.write_bytes)
    overwrites = Overwrites(sizes.write_bytes, sizes.changed)
    title = f"Changes: 4KiB overwritten at random in {large}, {number}"
    made.append(Group(overwrites.name, title, [overwrites], sides))
    writes = Writes(sizes.write_bytes)
    made.append(Group(writes.name, f"Changes: {large} written by 1MiB", [writes], sides))
    created = f"{sizes.created:,} files of 32KiB"
    with_python = (*sides[: sides.index(TIERFS) + 1], PYTHON, *sides[sides.index(TIERFS) + 1 :])
    made.append(Group("ingest", f"Ingest: {created}", [Ingest(sizes.created)], with_python))
    crowd: list[Scenario] = [
        Ingest(sizes.created, name=ONE_WRITER),
        Ingest(sizes.created, writers=8, name=EIGHT_WRITERS),
        Mixing(1, 2 * sizes.changed, name=ONE_MIXING),
        Mixing(8, 2 * sizes.changed, name=EIGHT_MIXING),
    ]
    made.append(Group("crowd", "One process, and eight", crowd, (NATIVE, BEFORE, TIERFS), (FREE,)))
    return made


def _trees(sizes: Sizes, archive: Path | None) -> list[Group]:
    """In memory, warm; and on ext4, cold."""
    warm = Tree(TREE, sizes.tree_files, archive)
    cold = Tree(COLD_TREE, sizes.tree_files, archive, cold=True)
    what = archive.name if archive else f"{sizes.tree_files:,} files"
    sides = (NATIVE, FLOOR, BEFORE, TIERFS, MERGERFS, BINDFS)
    on_ext4 = (EXT4, FLOOR_ON_EXT4, BEFORE_ON_EXT4, ON_EXT4)
    return [
        Group(TREE, f"Tree: {what}, in memory", [warm], sides, (FREE,)),
        Group(COLD_TREE, f"Tree: {what}, on ext4, caches dropped", [cold], on_ext4, (FREE,)),
    ]


@dataclass(slots=True)
class Outcome:
    """What a run came to, so far: an interrupted run leaves what it had got.

    ``show`` is told of every report as soon as it is there.
    """

    show: Callable[[Report], None]
    reports: dict[str, list[Report]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """Parts that failed, each with its reason; the others went on."""

    def attempt(self, part: str, mode: str, work: Callable[[], Report]) -> None:
        """Keep the report of a part, or why there is none."""
        try:
            report = work()
        except (TierfsError, OSError) as error:
            self.failures.append(f"{part} ({mode}) failed: {error}")
            return
        self.reports.setdefault(mode, []).append(report)
        self.show(report)


def play(settings: Settings, outcome: Outcome, say: Say) -> None:
    """Measure everything into ``outcome``. What was made for it is gone afterwards.

    Raises:
        TierfsError, OSError: the sides could not be made.
    """
    only = settings.only or GROUPS
    chosen = [one for one in groups(settings.sizes, settings.archive) if one.name in only]
    if chosen:
        with stage() as made:
            names = {name for group in chosen for name in group.sides}
            names &= {*settings.sides} or names
            sides = {side.name: side for side in make_sides(settings, made, names, say)}
            for group, mode in product(chosen, settings.modes):
                _play_group(group, mode, sides, settings, outcome, say)
    if SPINNING in only:
        for mode in settings.modes:
            _play_spinning(mode, settings, outcome, say)


def _play_group(
    group: Group,
    mode: str,
    sides: Mapping[str, Side],
    settings: Settings,
    outcome: Outcome,
    say: Say,
) -> None:
    present = [sides[name] for name in group.sides if name in sides]
    if present and mode in group.modes:
        title, how = f"{group.title} ({mode})", _conditions(settings, mode)
        outcome.attempt(
            group.name, mode, lambda: measure(title, group.scenarios, present, how, say)
        )


def _play_spinning(mode: str, settings: Settings, outcome: Outcome, say: Say) -> None:
    """The simulated disk: a stage for each part, so that its files alone fill the drives."""
    plan = spinning.Plan(
        program=settings.program,
        place=settings.place,
        drive=(),
        geometry=Geometry(),
        conditions=_conditions(settings, mode),
        files=settings.sizes.spinning_files,
        batches=settings.sizes.batches,
    )
    parts: list[Callable[[Stage], Report]] = [lambda made: spinning.waiting(plan, made, say)]
    if mode == FREE:
        # Small images first: the demands are about the first report of the loader.
        parts += [
            partial(_trained, plan, say, sizes)
            for sizes in (spinning.SMALL_IMAGES, spinning.LARGE_IMAGES)
        ]
    for part in parts:
        with stage() as made:
            outcome.attempt(SPINNING, mode, partial(part, made))


def _trained(plan: spinning.Plan, say: Say, sizes: tuple[int, int], made: Stage) -> Report:
    return spinning.training(plan, made, sizes, say)


def _conditions(settings: Settings, mode: str) -> Conditions:
    return Conditions(settings.repeat, settings.core if mode == PINNED else None)
