"""``tierfs bench``: measure directories in turns: first and repeated reads, names, new files."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.table import Table

from tierfs.cli.command import FILE, SIZE, Command
from tierfs.common.errors import DamageFound, TierfsError, UsageError
from tierfs.common.units import KIB, MIB, format_size

DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
"""proc_sys_vm(5): 3 drops clean pages, dentries and inodes, of the whole machine."""
WORK: Final = "tierfs-bench"
"""The directory below each measured one that holds all files that are made."""
HEAD: Final = 64 * KIB
LARGE: Final = MIB
LARGE_FILES: Final = 50
A_DIRECTORY: Final = 200
"""Files in each directory."""
ROOM: Final = 1.1
"""How many times what is written must be free."""
PLAIN_WIDTH: Final = 120
"""Columns of a table in a log or pipe, where nobody says how wide it may be."""
EXAMPLES = """
sudo tierfs bench /raid/plain /mnt/images
sudo tierfs bench disk=/raid/plain tierfs=/mnt/images --only epoch,first-byte --json figures.json
tierfs bench /mnt/images --files 200 --repeat 1
"""

Paths = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured, in ``unit``. ``names``: it means nothing where names stayed cached."""

    name: str
    unit: str
    less_is_better: bool = False
    names: bool = False


FIRST_EPOCH: Final = Figure("first epoch", "files/s", names=True)
EPOCH_AGAIN: Final = Figure("epoch again", "files/s")
FIRST_BYTE: Final = Figure("first 64KiB of 1MiB, median", "ms", less_is_better=True)
SLOWEST: Final = Figure("first 64KiB of 1MiB, slowest", "ms", less_is_better=True)
FIRST_LOOKUP: Final = Figure("first lookup", "files/s", names=True)
STAT_AGAIN: Final = Figure("stat again", "files/s")
CREATE: Final = Figure("create", "files/s")
PARTS: Final[Mapping[str, Sequence[Figure]]] = {
    "epoch": (FIRST_EPOCH, EPOCH_AGAIN),
    "first-byte": (FIRST_BYTE, SLOWEST),
    "metadata": (FIRST_LOOKUP, STAT_AGAIN),
    "create": (CREATE,),
}


def _parts(_ctx: click.Context, _option: click.Parameter, value: str) -> list[str]:
    """The parts named, in the order of ``PARTS``."""
    asked = {name.strip() for name in value.split(",")}
    unknown = asked - PARTS.keys()
    if unknown:
        raise click.BadParameter(f"{', '.join(sorted(unknown))} is none of: {', '.join(PARTS)}")
    return [name for name in PARTS if name in asked]


@click.command(
    cls=Command, epilog=EXAMPLES, name="bench", short_help="Measure directories, such as a mount."
)
@click.argument("directories", metavar="[NAME=]DIR...", nargs=-1, required=True)
@click.option(
    "--only",
    callback=_parts,
    default=",".join(PARTS),
    show_default=True,
    metavar="NAME,...",
    help="What to measure.",
)
@click.option(
    "--files", type=click.IntRange(1), default=2000, show_default=True, help="Small files."
)
@click.option("--size", type=SIZE, default="32KiB", show_default=True, help="Of a small file.")
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Turns.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides the random orders.")
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
def command(
    directories: Sequence[str],
    only: Sequence[str],
    files: int,
    size: int,
    repeat: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Measure directories in turns with plain system calls, and compare them with the first one.

    A directory may be a tierfs mount, the bare storage or any other filesystem. Files are made in
    DIR/tierfs-bench and deleted in the end. First reads begin with cold caches: as root the whole
    machine's are dropped, else the pages of the files alone.
    """
    if json_file and not json_file.absolute().parent.is_dir():
        raise UsageError(f"{json_file.absolute().parent} does not exist; make it first")
    sides = _sides(directories, only, files, size)
    report = Report([side.name for side in sides], repeat, seed)
    try:
        for side in sides:
            _say(f"making files in {side.home}")
            side.prepare()
        for turn in range(repeat):
            start = turn % len(sides)
            for side in [*sides[start:], *sides[:start]]:
                _say(f"turn {turn + 1} of {repeat}: {side.name}")
                report.enter(side, side.measure(seed + turn))
    finally:
        for side in sides:
            shutil.rmtree(side.home, ignore_errors=True)
    report.show()
    if json_file:
        json_file.write_text(json.dumps(report.plain(), indent=2) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _sides(given: Iterable[str], only: Sequence[str], files: int, size: int) -> list[Side]:
    """Raises UsageError for one that is missing or named twice, TierfsError without room."""
    sides: list[Side] = []
    for text in given:
        name, _, path = text.rpartition("=")
        home = Path(path).absolute()
        if not home.is_dir():
            raise UsageError(f"{path} is not a directory")
        name = name or home.name or path
        if name in (side.name for side in sides):
            raise UsageError(f"two directories are called {name}; name them: NAME=DIR")
        sides.append(Side(name, home / WORK, only, files, size))
    for side in sides:
        side.require_room()
    return sides


# ---------------------------------------------------------------- what is measured


@dataclass(slots=True)
class Side:
    """A directory, and what is measured in it; ``home`` is where its files are made."""

    name: str
    home: Path
    only: Sequence[str]
    files: int
    size: int
    cold_names: bool = field(default=True, init=False)
    """Whether the last drop of the caches reached names and attributes as well."""

    def require_room(self) -> None:
        """Raise TierfsError unless everything fits, UsageError when the last run is in the way."""
        if self.home.exists():
            raise UsageError(
                f"{self.home} is there already, left by a run that was killed: delete it"
            )
        found = os.statvfs(self.home.parent)
        needed = int((2 * self.files * max(self.size, 4 * KIB) + LARGE_FILES * LARGE) * ROOM)
        free = found.f_bavail * found.f_frsize
        if free < needed:
            raise TierfsError(
                f"{self.home.parent} has {format_size(free)} free and {format_size(needed)} are "
                "needed; choose fewer or smaller files"
            )

    def prepare(self) -> None:
        """Make the files that are read."""
        self.home.mkdir()
        create(_paths(self.home / "small", self.files), self.size)
        if "first-byte" in self.only:
            create(_paths(self.home / "large", LARGE_FILES), LARGE)

    def measure(self, seed: int) -> dict[Figure, float]:
        """One turn: a value for each figure. ``seed`` decides the order, equal on all sides."""
        values: dict[Figure, float] = {}
        small = _shuffled(_paths(self.home / "small", self.files, make=False), seed)
        if "epoch" in self.only:
            self._chill()
            values[FIRST_EPOCH] = len(small) / _seconds(lambda: read(small, self.size))
            values[EPOCH_AGAIN] = len(small) / _seconds(lambda: read(small, self.size))
        if "first-byte" in self.only:
            large = _shuffled(_paths(self.home / "large", LARGE_FILES, make=False), seed)
            self._chill()
            waits = [1e3 * _seconds(partial(read_head, path)) for path in large]
            values[FIRST_BYTE], values[SLOWEST] = statistics.median(waits), max(waits)
        if "metadata" in self.only:
            self._chill()
            values[FIRST_LOOKUP] = len(small) / _seconds(lambda: look_up(small, self.size))
            values[STAT_AGAIN] = len(small) / _seconds(lambda: look_up(small, self.size))
        if "create" in self.only:
            new = _paths(self.home / "new", self.files)
            values[CREATE] = len(new) / _seconds(lambda: create(new, self.size))
            shutil.rmtree(self.home / "new")
        return {one: value for one, value in values.items() if self.cold_names or not one.names}

    def _chill(self) -> None:
        """Drop what the kernel caches; a daemon's own memory stays, and so does tmpfs."""
        os.sync()
        try:
            DROP_CACHES.write_text("3\n", encoding="ascii")
        except OSError:
            self.cold_names = False
            for directory, _, names in os.walk(self.home):
                for name in names:
                    fd = os.open(os.path.join(directory, name), os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)


def create(paths: Paths, size: int) -> None:
    """Create every file, write ``size`` bytes of noise in one call, close it."""
    noise = random.Random(size).randbytes(size)
    for path in paths:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, noise)
        os.close(fd)


def read(paths: Paths, size: int) -> None:
    """Open, read to the end and close every file. Raises DamageFound for one of another size."""
    vector = [bytearray(size + 1)]
    for path in paths:
        fd, got = os.open(path, os.O_RDONLY), 0
        while more := os.readv(fd, vector):
            got += more
        os.close(fd)
        if got != size:
            raise DamageFound(f"{os.fsdecode(path)}: {got} bytes instead of {size}")


def read_head(path: bytes) -> None:
    """Open a file and read its first 64 KiB. Raises DamageFound for fewer."""
    fd = os.open(path, os.O_RDONLY)
    got = len(os.read(fd, HEAD))
    os.close(fd)
    if got != HEAD:
        raise DamageFound(f"{os.fsdecode(path)}: {got} bytes instead of {HEAD}")


def look_up(paths: Paths, size: int) -> None:
    """lstat(2) every file. Raises DamageFound for one of another size."""
    for path in paths:
        if os.lstat(path).st_size != size:
            raise DamageFound(f"{os.fsdecode(path)} has not {size} bytes")


def _paths(root: Path, count: int, *, make: bool = True) -> list[bytes]:
    """Encoded paths below ``root``; their directories are made."""
    for number in range(0, count if make else 0, A_DIRECTORY):
        (root / f"{number // A_DIRECTORY:05}").mkdir(parents=True)
    home = os.fsencode(root)
    return [b"%b/%05d/%07d" % (home, number // A_DIRECTORY, number) for number in range(count)]


def _shuffled(paths: list[bytes], seed: int) -> list[bytes]:
    random.Random(seed).shuffle(paths)
    return paths


def _seconds(work: Callable[[], None]) -> float:
    gc.disable()  # a collection would count as the filesystem's time
    began = time.perf_counter()
    try:
        work()
    finally:
        gc.enable()
    return time.perf_counter() - began


# ---------------------------------------------------------------- what is told


@dataclass(slots=True)
class Report:
    """The samples of every side, one a turn; ratios are taken to the first, turn by turn."""

    sides: Sequence[str]
    repeat: int
    seed: int
    samples: dict[tuple[Figure, str], list[float]] = field(default_factory=dict)
    warm: list[str] = field(default_factory=list)
    """Sides whose names could not be dropped."""

    def enter(self, side: Side, values: Mapping[Figure, float]) -> None:
        """Take in the values of a turn."""
        for figure, value in values.items():
            self.samples.setdefault((figure, side.name), []).append(value)
        if not side.cold_names and side.name not in self.warm:
            self.warm.append(side.name)

    def show(self) -> None:
        """Print the table."""
        console = Console(highlight=False)
        if not console.is_terminal:
            console = Console(highlight=False, width=PLAIN_WIDTH)
        table = Table(box=box.SIMPLE_HEAD)
        for column in ("figure", "directory"):
            table.add_column(column)
        for column in ("median", "lowest", "highest", "unit", "ratio", "ratios"):
            table.add_column(column, justify="right")
        for one in self.plain()["results"]:
            middle, low, high = (_short(float(one[key])) for key in ("median", "lowest", "highest"))
            ratio, spread = "", ""
            if one["side"] != self.sides[0] and (ratios := one["times_better_than_first"]):
                ratio = f"{statistics.median(ratios):.2f}"
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            table.add_row(one["figure"], one["side"], middle, low, high, one["unit"], ratio, spread)
        console.print(table)
        console.print(f"{self.repeat} turns; ratios are to {self.sides[0]}: above 1 is better.")
        if self.warm:
            console.print(
                f"Not as root: names stayed cached for {', '.join(self.warm)}, and figures of them "
                "are left out."
            )

    def plain(self) -> dict[str, Any]:
        """Everything for JSON."""
        return {
            "repeat": self.repeat,
            "seed": self.seed,
            "load": os.getloadavg()[0],
            "names_stayed_cached": self.warm,
            "results": [
                {
                    "figure": figure.name,
                    "side": side,
                    "unit": figure.unit,
                    "better": "less" if figure.less_is_better else "more",
                    "samples": samples,
                    "median": statistics.median(samples),
                    "lowest": min(samples),
                    "highest": max(samples),
                    "times_better_than_first": self._ratios(figure, samples),
                }
                for figure in (figure for part in PARTS.values() for figure in part)
                for side in self.sides
                if (samples := self.samples.get((figure, side)))
            ],
        }

    def _ratios(self, figure: Figure, samples: Sequence[float]) -> list[float]:
        """How many times better each turn was than that of the first directory."""
        first = self.samples.get((figure, self.sides[0]), ())
        pairs = list(zip(samples, first, strict=False))
        if figure.less_is_better:
            return [theirs / ours for ours, theirs in pairs]
        return [ours / theirs for ours, theirs in pairs]


def _short(value: float) -> str:
    """Three significant digits, or whole when there are more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
