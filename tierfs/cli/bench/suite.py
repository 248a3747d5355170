"""``tierfs bench suite``: the project's own acceptance run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from tierfs.base.errors import TierfsError, UsageError
from tierfs.base.units import format_size
from tierfs.bench.framework.mounts import filesystem_of
from tierfs.bench.stream import STEP
from tierfs.bench.suite import paired
from tierfs.bench.suite.names import (
    BEFORE,
    BEFORE_ON_EXT4,
    BINDFS,
    EXT4,
    FREE,
    MERGERFS,
    NATIVE,
    ON_EXT4,
    PINNED,
    PYTHON,
    TIERFS,
)
from tierfs.bench.suite.paired import Pair, pairs
from tierfs.bench.suite.play import ALIASES, CHANGES, GROUPS, Outcome, play
from tierfs.bench.suite.settings import Settings, Sizes
from tierfs.bench.suite.wanted import COLUMNS, Verdict, judge, plain, table
from tierfs.cli.bench.options import Output
from tierfs.cli.bench.show import make_console, say, show, write
from tierfs.cli.bench.types import DIRECTORY, FILE, SIZE, NamesType
from tierfs.cli.verb import Verb
from tierfs.mount.interpreter import module_command

MEMORY = "tmpfs"
SHM = "/dev/shm"  # noqa: S108 - only the parent for mkdtemp
TMP = "/var/tmp"  # noqa: S108 - only the parent for mkdtemp
NUMBERS = ("wanted", "measured", "spread")
SIDES = (NATIVE, TIERFS, PYTHON, MERGERFS, BINDFS, BEFORE, EXT4, ON_EXT4, BEFORE_ON_EXT4)
BOTH = (BEFORE, TIERFS, BEFORE_ON_EXT4, ON_EXT4)
TURNS, PAIRS = 5, 15
INSTALLED = ".venv/bin/tierfs"
EXAMPLES = """
tierfs bench suite --json suite.json --chart suite.svg
tierfs bench suite --only epoch,metadata --cores free
tierfs bench suite --only rename,unlink --against /src/older-tierfs
"""


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _number(name: str, default: int, text: str, *, least: int) -> Decorator:
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


@click.command(cls=Verb, epilog=EXAMPLES, name="suite", short_help="The acceptance run of tierfs.")
@click.option(
    "--only",
    type=NamesType(GROUPS, ALIASES),
    default=(),
    metavar="NAME,...",
    help=f"Only these of: {', '.join(GROUPS)}; changes: the first {len(CHANGES)}.",
)
@click.option(
    "--sides",
    type=NamesType(SIDES, {}),
    metavar="NAME,...",
    help=f"Only these of: {', '.join(SIDES)}.  [default: all, with --against only both tierfs]",
)
@click.option(
    "--against",
    metavar="DIR|COMMAND",
    help="Another tierfs, a checkout with its .venv or a command, in turns with this one.",
)
@click.option("--cores", type=click.Choice([PINNED, FREE]), help="Only in this way.")
@click.option(
    "--pin",
    "core",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="CORE",
    help="The core of the pinned turns.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1),
    help="Turns of each side.  [default: 5, with --against 15]",
)
@_number("--files", 20_000, "Files of the epochs and lookups.", least=1)
@_number("--walked", 100_000, "Files of the walks.", least=1)
@_number("--created", 2000, "Files created in a turn.", least=1)
@_number("--changed", 2000, "Files and directories changed in a turn.", least=1)
@click.option(
    "--write-size", type=SIZE, default="256MiB", show_default=True, help="Of the file written."
)
@_number("--tree-files", 80_000, "Files of the tree that is unpacked.", least=1)
@click.option("--tar", "archive", type=FILE, help="Unpack this uncompressed archive instead.")
@click.option(
    "--stream-size", type=SIZE, default="1GiB", show_default=True, help="Of the large file."
)
@_number("--spinning-files", 1000, "Files on the simulated disk.", least=20)
@_number("--batches", 40, "Batches of the simulated training.", least=1)
@_number("--memory-files", 0, "Files looked up for the daemon's memory; 0: not measured.", least=0)
@click.option(
    "--dir",
    "place",
    type=DIRECTORY,
    default=SHM,
    show_default=True,
    help="Where to make the directories; in memory.",
)
@click.option(
    "--disk-dir",
    "disk",
    type=DIRECTORY,
    default=TMP,
    show_default=True,
    help="The same, for what shall lie on a disk.",
)
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
@click.option("--chart", "chart_file", type=FILE, help="Draw an SVG chart to this file.")
def command(**given: object) -> None:
    """Measure tierfs beside the bare directory, itself without the fast path, mergerfs and bindfs.

    Everything is made in new directories in memory (--dir) and, for what is to be read from a
    real disk, in --disk-dir; it is unmounted and deleted in the end. Run it as root: nobody else
    can drop the kernel's caches.
    """
    output, settings = _output(given), _settings(given)
    outcome = Outcome(show)
    try:
        play(settings, outcome, say)
    finally:
        _conclude(settings, outcome, output)
    if outcome.failures:
        raise TierfsError.of_lines(["not everything could be measured:", *outcome.failures])


def _conclude(settings: Settings, outcome: Outcome, output: Output) -> None:
    """Judge and write what there is, also after an interrupt."""
    if not outcome.reports:
        return
    part = settings.only or settings.sides
    verdicts = [one for one in judge(outcome.reports) if one.measured or not part]
    if verdicts:
        _show_verdicts(verdicts)
    if settings.against:
        _show_pairs(pairs(outcome.reports))
    write([report for mode in outcome.reports.values() for report in mode], output, plain(verdicts))


def _output(given: dict[str, Any]) -> Output:
    """Raises UsageError for a file that could not be written."""
    output = Output(given.pop("json_file"), given.pop("chart_file"))
    output.check()
    return output


def _settings(given: dict[str, Any]) -> Settings:
    """Raises UsageError for what makes no sense."""
    disk: Path | None = given.pop("disk")
    if disk and filesystem_of(disk) == MEMORY:
        say(f"{disk} lies in memory; name a directory on a disk: --disk-dir DIR")
        disk = None
    against, cores = given.pop("against"), given.pop("cores")
    sides = given.pop("sides") or (BOTH if against else ())
    repeat = given.pop("repeat") or (PAIRS if against else TURNS)
    sizes = Sizes(
        files=given.pop("files"),
        walked=given.pop("walked"),
        created=given.pop("created"),
        changed=given.pop("changed"),
        write_bytes=given.pop("write_size"),
        tree_files=given.pop("tree_files"),
        stream_bytes=given.pop("stream_size"),
        spinning_files=given.pop("spinning_files"),
        batches=given.pop("batches"),
        memory_files=given.pop("memory_files"),
    )
    for option, size in (("stream", sizes.stream_bytes), ("write", sizes.write_bytes)):
        if size < STEP or size % STEP:
            shown = format_size(size)
            raise UsageError(f"--{option}-size {shown}: choose a multiple of {format_size(STEP)}")
    if "memory" in given["only"] and not sizes.memory_files:
        raise UsageError("--only memory: say how many files, such as --memory-files 1000000")
    return Settings(
        program=module_command("tierfs"),
        disk=disk,
        against=_program(against) if against else None,
        sides=sides,
        repeat=repeat,
        modes=(cores,) if cores else (PINNED, FREE),
        sizes=sizes,
        **given,
    )


def _program(against: str) -> Sequence[str]:
    """Raises UsageError for a directory that holds no tierfs."""
    if not Path(against).is_dir():
        return shlex.split(against)
    program = Path(against) / INSTALLED
    if not program.exists():
        raise UsageError(f"--against {against}: there is no {INSTALLED}; run make setup there")
    return [str(program)]


def _show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """What was wanted, and what was measured; the last table."""
    drawn = Table(title="Wanted and measured", box=box.SIMPLE_HEAD, title_justify="left")
    for column in COLUMNS:
        drawn.add_column(column, justify="right" if column in NUMBERS else "left")
    for row in table(verdicts):
        drawn.add_row(*row)
    console = make_console()
    console.print(drawn)
    met = [one.met for one in verdicts]
    console.print(
        f"{met.count(True)} met, {met.count(False)} not met, {met.count(None)} not measured."
    )


def _show_pairs(found: Sequence[Pair]) -> None:
    """This tierfs beside the other one."""
    drawn = Table(title="Before and after, turn by turn", box=box.SIMPLE_HEAD, title_justify="left")
    for column in paired.COLUMNS:
        left = column in {"figure", "cores", "unit", ""}
        drawn.add_column(column, justify="left" if left else "right")
    for row in paired.table(found):
        drawn.add_row(*row)
    console = make_console()
    console.print(drawn)
    slower = [one.name for one in found if one.verdict == "slower"]
    console.print(f"{len(slower)} of {len(found)} are slower by more than 5 %.")
