"""What the fast path must reach, and whether a run reached it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.benchmarks import changes, daemon, mover, reading, spinning, tree, waiting
from tests.benchmarks.report import Report, Result, Summary
from tests.benchmarks.sides import (
    BINDFS,
    DISK,
    EXT4,
    FREE,
    MERGERFS,
    MOVING,
    NATIVE,
    ON_DISK,
    ON_EXT4,
    PINNED,
    PYTHON,
    TIERFS,
)

ONE_READER: Final = "epoch, 1 reader"
FOUR_READERS: Final = "epoch, 4 readers"
UNCACHED: Final = "stream, nothing cached"
ONE_WRITER: Final = "ingest, 1 process"
EIGHT_WRITERS: Final = "ingest, 8 processes"
ONE_MIXING: Final = "mix, 1 process"
EIGHT_MIXING: Final = "mix, 8 processes"
TREE: Final = "tree"
COLD_TREE: Final = "tree on ext4"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is found: a figure of a scenario on a side."""

    scenario: str
    figure: str
    side: str


@dataclass(frozen=True, slots=True)
class Row:
    """One demand: ``ours`` is at least so many times better than ``theirs``, for each mode.

    Without ``theirs`` it is about the value itself, in its unit. ``at_most``: not at least.
    """

    name: str
    ours: Place
    theirs: Place | None
    wanted: Mapping[str, float]
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row was met in a mode. ``measured`` is None when the run did not measure it."""

    row: Row
    mode: str
    measured: Summary | None

    @property
    def wanted(self) -> float:
        """The least ratio, or the greatest value."""
        return self.row.wanted[self.mode]

    @property
    def met(self) -> bool | None:
        """Judged by the median as it is shown, with two decimals; None: not measured."""
        if self.measured is None:
            return None
        shown = round(self.measured.median, 2)
        return shown <= self.wanted if self.row.at_most else shown >= self.wanted


def both(value: float) -> dict[str, float]:
    """The same demand pinned and free."""
    return {PINNED: value, FREE: value}


def _versus(name: str, scenario: str, figure: str, other: str, wanted: Mapping[str, float]) -> Row:
    """A row of tierfs against another side, at the same figure."""
    ours, theirs = Place(scenario, figure, TIERFS), Place(scenario, figure, other)
    return Row(f"{name}, against {other}", ours, theirs, wanted)


def _several(name: str, figure: str, scenarios: tuple[str, str], who: str, wanted: float) -> Row:
    """A row of several processes against one."""
    ours, theirs = (Place(one, figure, TIERFS) for one in scenarios)
    return Row(f"{name}, {who} against 1", ours, theirs, {FREE: wanted})


def _on_ext4(name: str, figure: str, wanted: float) -> Row:
    ours, theirs = Place(COLD_TREE, figure, ON_EXT4), Place(COLD_TREE, figure, EXT4)
    return Row(name, ours, theirs, {FREE: wanted})


def _spinning(name: str, scenario: str, figure: str, wanted: Mapping[str, float]) -> Row:
    """A row of tierfs on a simulated spinning disk, against that disk alone."""
    return _versus(f"{name}, spinning disk", scenario, figure, spinning.DISK, wanted)


def _mover(name: str, figure: str, most: float) -> Row:
    return Row(name, Place(mover.NAME, figure, MOVING), None, {FREE: most}, at_most=True)


def _busy(side: str, wanted: float, *, at_most: bool = False) -> Row:
    place = Place("loader", waiting.BUSY, side)
    return Row(f"accelerator busy, small images, {side}, %", place, None, {FREE: wanted}, at_most)


ROWS: Final = (
    _versus("warm epoch", "epoch", reading.EPOCH_AGAIN, NATIVE, both(0.85)),
    _versus("warm epoch", "epoch", reading.EPOCH_AGAIN, MERGERFS, both(5.0)),
    _versus("warm epoch", "epoch", reading.EPOCH_AGAIN, BINDFS, both(5.0)),
    _versus("first epoch", "epoch", reading.FIRST_EPOCH, PYTHON, both(2.5)),
    _versus("first epoch", "epoch", reading.FIRST_EPOCH, MERGERFS, {PINNED: 1.4, FREE: 2.0}),
    _versus("first lookups", "metadata", reading.LOOKUP, PYTHON, both(3.5)),
    _versus("first lookups", "metadata", reading.LOOKUP, MERGERFS, both(1.5)),
    _versus("getxattr, set", "metadata", reading.XATTR, PYTHON, both(3.0)),
    _versus("getxattr, set", "metadata", reading.XATTR, MERGERFS, both(1.5)),
    _versus("warm walk", "walk", reading.WALK, NATIVE, both(0.7)),
    _versus("cold walk", "walk", reading.COLD_WALK, MERGERFS, both(1.0)),
    _versus("first read, cached below", "stream", reading.FIRST_READ, NATIVE, both(0.15)),
    _versus("second read", "stream", reading.SECOND_READ, NATIVE, both(0.5)),
    _versus("third read", "stream", reading.THIRD_READ, NATIVE, both(0.9)),
    Row(
        f"first read, nothing cached, against {DISK}",
        Place(UNCACHED, reading.FIRST_READ, ON_DISK),
        Place(UNCACHED, reading.FIRST_READ, DISK),
        both(1.0),
    ),
    _versus("ingest", "ingest", changes.CREATE, BINDFS, {PINNED: 0.5, FREE: 4.0}),
    *(
        _versus(name, name, name, BINDFS, {FREE: wanted})
        for name, wanted in {
            "empty file": 1.3,
            "mkdir": 1.3,
            "rename": 1.3,
            "unlink": 1.3,
            "rmtree": 1.3,
            "setxattr": 1.3,
            "chmod": 1.0,
            "append": 4.0,
            "overwrite": 2.5,
        }.items()
    ),
    _versus("write", "write", "write", NATIVE, {FREE: 0.4}),
    _several("first epoch", reading.FIRST_EPOCH, (FOUR_READERS, ONE_READER), "4 readers", 1.3),
    _several("warm epoch", reading.EPOCH_AGAIN, (FOUR_READERS, ONE_READER), "4 readers", 1.0),
    _several("ingest", changes.CREATE, (EIGHT_WRITERS, ONE_WRITER), "8 processes", 1.0),
    _several("mix", changes.MIX, (EIGHT_MIXING, ONE_MIXING), "8 processes", 1.0),
    *(
        _versus(f"{name}, in memory", TREE, name, NATIVE, {FREE: 0.125})
        for name in (tree.UNTAR, tree.RSYNC, tree.REMOVE)
    ),
    *(
        _on_ext4(f"{name}, on {EXT4}", name, 0.67)
        for name in (tree.UNTAR, tree.UNTAR_SYNC, tree.RSYNC, tree.REMOVE)
    ),
    Row(
        "processor time of an idle mount, %",
        Place(daemon.IDLE, daemon.PROCESSOR, TIERFS),
        None,
        {FREE: 0.5},
        at_most=True,
    ),
    _mover("reads while files are moved, p99, times the idle one", mover.P99_RATIO, 2.0),
    _mover("mover, off its rate, %", mover.OFF_RATE, 10.0),
    _spinning("time to the first 64KiB", waiting.FIRST_BYTE, waiting.FIRST_ALL, both(10.0)),
    # 70 % shorter: 1 / (1 - 0.7) times as fast, as it is shown.
    _spinning("time to a whole file", waiting.WHOLE_FILE, waiting.WHOLE_ALL, both(3.33)),
    _spinning("time to a whole large file", waiting.WHOLE_FILE, waiting.WHOLE_LARGE, both(1.0)),
    _busy(TIERFS, 95.0),
    _busy(spinning.DISK, 30.0, at_most=True),
)


def judge(reports: Mapping[str, Sequence[Report]], rows: Iterable[Row] = ROWS) -> list[Verdict]:
    """A verdict for every row and mode; ``reports`` are those of each mode that was measured."""
    return [
        Verdict(row, mode, _measured(row, reports[mode]))
        for row in rows
        for mode in row.wanted
        if mode in reports
    ]


COLUMNS: Final = ("figure", "cores", "wanted", "measured", "spread", "met")


def table(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row of ``COLUMNS`` for each verdict."""
    return [_cells(verdict) for verdict in verdicts]


def plain(verdicts: Iterable[Verdict]) -> list[dict[str, object]]:
    """The verdicts for JSON."""
    return [
        {
            "figure": one.row.name,
            "cores": one.mode,
            "kind": "at most" if one.row.at_most else "at least",
            "wanted": one.wanted,
            "measured": None if one.measured is None else one.measured.median,
            "lowest": None if one.measured is None else one.measured.low,
            "highest": None if one.measured is None else one.measured.high,
            "met": one.met,
        }
        for one in verdicts
    ]


def _cells(one: Verdict) -> tuple[str, ...]:
    sign = "≤" if one.row.at_most else "≥"
    name, wanted = one.row.name, f"{sign} {one.wanted:.3g}"
    if one.measured is None:
        return name, one.mode, wanted, "not measured", "", ""
    spread = f"{one.measured.low:.2f} to {one.measured.high:.2f}"
    return name, one.mode, wanted, f"{one.measured.median:.2f}", spread, "yes" if one.met else "NO"


def _measured(row: Row, reports: Sequence[Report]) -> Summary | None:
    ours = _find(row.ours, reports)
    if ours is None:
        return None
    if row.theirs is None:
        return ours.summary
    theirs = _find(row.theirs, reports)
    return None if theirs is None else ours.ratio(theirs)


def _find(place: Place, reports: Sequence[Report]) -> Result | None:
    found = (report.find(place.scenario, place.figure, place.side) for report in reports)
    return next((result for result in found if result is not None), None)
