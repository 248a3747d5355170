"""Where the bytes lie: counted in the backing directories, and as ``tierfs status`` says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tierfs.base.errors import DamageFound
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.demo.findings import Findings
from tierfs.demo.trees import Census
from tierfs.demo.ui import Ui
from tierfs.demo.volume import Status

BLOCK = 512
"""Bytes in which ``st_blocks`` counts (stat(2)), whatever the filesystem's blocks are."""

HEADS = "heads"
OBJECTS = "objects"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class TierUse:
    """The objects below a directory; ``occupied`` leaves holes out. Sizes are in bytes."""

    objects: int
    bytes: int
    occupied: int
    largest: int


def use_of(directory: Path) -> TierUse:
    """Count the files below ``directory``. Raises OSError when one cannot be looked at.

    An object that is freed between its listing and the look at it counts no more.
    """
    found: list[os.stat_result] = []
    for path, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                found.append(Path(path, name).lstat())
    sizes = [status.st_size for status in found]
    occupied = sum(status.st_blocks for status in found) * BLOCK
    return TierUse(len(found), sum(sizes), occupied, max(sizes, default=0))


def show_sources(ui: Ui, counts: Mapping[str, Census]) -> None:
    """What is going to be copied."""
    rows = [(name, *_cells(one)) for name, one in counts.items()]
    total = sum(counts.values(), Census())
    ui.table(
        "What is copied", ("", "files", "directories", "bytes"), [*rows, ("all", *_cells(total))]
    )


def _cells(one: Census) -> tuple[str, str, str]:
    return f"{one.files:,}", f"{one.directories:,}", format_size(one.bytes)


def show_placement(ui: Ui, flash: Path, disk: Path, status: Status, expected: Census) -> None:
    """Where the bytes lie, next to what the source says should lie there.

    Raises DamageFound when an object on flash is longer than a head.
    """
    heads, tails = use_of(flash / HEADS), use_of(disk / OBJECTS)
    rows = (
        _tier("flash: heads", heads, status.flash.bytes, expected.head_bytes),
        _tier("disk: tails", tails, status.disk.bytes, expected.tail_bytes),
    )
    columns = ("", "objects", "occupied", "largest", "by status", "in the source")
    ui.table(f"Where the bytes lie (head: {format_size(status.head)})", columns, rows)
    ui.say(f"Index: {status.index_inodes:,} inodes in {format_size(status.index_bytes)}.")
    if heads.largest > status.head:
        raise DamageFound(f"an object in {flash} has {heads.largest} bytes, more than a head")


def _tier(name: str, use: TierUse, reported: int, expected: int) -> Sequence[str]:
    sizes = (use.occupied, use.largest, reported, expected)
    return (name, f"{use.objects:,}", *map(format_size, sizes))


def show_findings(ui: Ui, findings: Findings) -> None:
    """What the comparison read, and what it could not judge."""
    ui.say(
        f"Compared {findings.compared_names:,} names: {format_size(findings.compared_bytes)} byte"
        f" by byte, types, owners, modes, times, links and {findings.compared_xattrs:,} xattrs."
    )
    if findings.set_aside:
        shown = ", ".join(printable(path) for path in findings.set_aside[:SHOWN])
        ui.say(f"Not judged, as the source changed meanwhile: {len(findings.set_aside)} ({shown}).")
