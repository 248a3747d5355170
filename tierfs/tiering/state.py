"""The state of the engine: sums over files and since the mount."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from tierfs.common.metrics import Metrics
from tierfs.common.units import SECOND
from tierfs.tiering.model import KINDS, REASONS, Done, Kind, Waiting, WaitReason


class Sum(NamedTuple):
    """Files, and the bytes of them that are in the wrong place."""

    files: int
    bytes: int


NO_FILES: Final = Sum(0, 0)

Sums: TypeAlias = dict[WaitReason, Sum]


def together(many: Iterable[Sums]) -> Sums:
    """The sums of several; reasons that hold for no file are left out."""
    found: Sums = {}
    for sums in many:
        for reason, (files, size) in sums.items():
            before = found.get(reason, NO_FILES)
            found[reason] = Sum(before.files + files, before.bytes + size)
    return found


class Tally:
    """Sums over many files; those of the last whole scan are kept until the next has ended."""

    def __init__(self) -> None:
        self.all = NO_FILES
        """Files, and their bytes that belong on flash."""
        self.waiting: Sums = {}
        """Those of them that are not where they belong."""
        self._all = NO_FILES
        self._waiting: Sums = {}

    def count(self, size: int, waiting: Waiting | None, misplaced: int) -> None:
        """A file of which ``size`` bytes belong on flash, and ``misplaced`` are elsewhere."""
        self._all = Sum(self._all.files + 1, self._all.bytes + size)
        if waiting is not None:
            files, total = self._waiting.get(waiting.reason, NO_FILES)
            self._waiting[waiting.reason] = Sum(files + 1, total + misplaced)

    def complete(self) -> None:
        """All were met."""
        self.all, self._all = self._all, NO_FILES
        self.waiting, self._waiting = self._waiting, {}

    def clear(self) -> None:
        """The policy changed."""
        self.all = self._all = NO_FILES
        self.waiting, self._waiting = {}, {}


@dataclass(frozen=True, slots=True)
class EngineState:
    """A moment of the engine; sizes in bytes. By kind of move: evict, hand, mirror, ..."""

    active: bool
    """Whether there is a policy; without one only what is asked for by hand is moved."""
    flash_capacity: int
    flash_used: int
    high_watermark: int
    """Bytes in use above which files are evicted."""
    low_watermark: int
    """Bytes in use down to which they are."""
    waiting: dict[Kind, int]
    """Jobs that wait."""
    moving: int
    """Jobs under way."""
    moved: dict[Kind, int]
    """Files moved since the mount."""
    copied: int
    """Bytes copied between the tiers since the mount."""
    freed: int
    """Bytes freed on flash since the mount."""
    failed: int
    """Moves that failed since the mount."""
    in_window: bool
    """Whether work that can wait is done now."""
    suspended: bool
    """Whether nothing is moved for a while, since too many moves failed."""
    scan: float
    """How much of the present scan is done, 0 to 1."""
    scans: int
    """Scans completed since the mount."""
    waits_for_mirror: int
    """Files known to have bytes on flash alone that are to be copied."""
    heat_memory: int
    """Bytes of the table of what was read."""
    tick_s: float
    """How long the latest tick took, in seconds."""
    flash_files: int
    """Inodes of flash's filesystem; 0: it makes them as they are needed."""
    flash_files_used: int
    files_high_watermark: int
    """Inodes in use above which files are evicted; 0 where none are counted."""
    files_low_watermark: int
    flash_only_since: int | None
    """When the oldest file that only flash has was changed last; None: there is none known."""
    pinned: Sum
    """Files pinned by hand or by a rule, and their bytes that belong on flash."""
    pinned_elsewhere: Sums
    """Those of which something is not there, by the reason, and the bytes that are not."""
    misplaced: Sums
    """Every file that is to be moved and waits, by the reason, these included."""


@dataclass(slots=True)
class Totals:
    """Sums since the mount, also as metrics."""

    metrics: Metrics
    moved: Counter[Kind] = field(default_factory=Counter)
    copied: int = 0
    freed: int = 0
    failed: int = 0

    def add(self, done: Done) -> None:
        """Count a step."""
        kind = done.step.kind
        self.metrics.moves.labels(kind, done.outcome).inc()
        self.metrics.move_copied_bytes.labels(kind).inc(done.copied)
        self.metrics.move_freed_bytes.labels(kind).inc(done.freed)
        self.moved[kind] += done.outcome == "moved"
        self.copied += done.copied
        self.freed += done.freed
        self.failed += done.outcome == "error"

    def export(self, state: EngineState) -> None:
        """Bring the gauges up to date."""
        metrics = self.metrics
        metrics.flash_used_bytes.set(state.flash_used)
        metrics.flash_watermark_bytes.labels("high").set(state.high_watermark)
        metrics.flash_watermark_bytes.labels("low").set(state.low_watermark)
        for kind in KINDS:
            metrics.moves_waiting.labels(kind).set(state.waiting[kind])
        metrics.mover_suspended.set(state.suspended)
        metrics.flash_inodes.set(state.flash_files)
        metrics.flash_inodes_used.set(state.flash_files_used)
        metrics.flash_inodes_watermark.labels("high").set(state.files_high_watermark)
        metrics.flash_inodes_watermark.labels("low").set(state.files_low_watermark)
        metrics.flash_only_oldest_timestamp_seconds.set((state.flash_only_since or 0) / SECOND)
        metrics.pinned_files.set(state.pinned.files)
        metrics.pinned_bytes.set(state.pinned.bytes)
        for reason in REASONS:
            files, size = state.pinned_elsewhere.get(reason, NO_FILES)
            metrics.pinned_elsewhere_files.labels(reason).set(files)
            metrics.pinned_elsewhere_bytes.labels(reason).set(size)
            files, size = state.misplaced.get(reason, NO_FILES)
            metrics.misplaced_files.labels(reason).set(files)
            metrics.misplaced_bytes.labels(reason).set(size)
        metrics.scan_progress.set(state.scan)
        metrics.scans.set(state.scans)
