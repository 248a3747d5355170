"""The command line of the benchmarks: ``python -m tests.benchmarks``, from a checkout."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from tests.benchmarks import paired
from tests.benchmarks.changes import Ingest
from tests.benchmarks.datasets import Dataset, images, mostly_small
from tests.benchmarks.disk.model import Geometry, SimulatedDisk, assumptions
from tests.benchmarks.machine import filesystem_of
from tests.benchmarks.policies.compare import compare
from tests.benchmarks.reading import STEP, Epoch, Metadata, Stream, Walks
from tests.benchmarks.report import say, show, show_rows, write
from tests.benchmarks.runner import Conditions, measure
from tests.benchmarks.scenario import Scenario, Side, work_directory
from tests.benchmarks.sides import (
    BEFORE,
    BEFORE_ON_EXT4,
    BINDFS,
    EXT4,
    FLOOR,
    FLOOR_ON_EXT4,
    FREE,
    MERGERFS,
    NATIVE,
    ON_EXT4,
    PINNED,
    PYTHON,
    TIERFS,
    Settings,
    Sizes,
)
from tests.benchmarks.suite import ALIASES, CHANGES, GROUPS, Outcome, play
from tests.benchmarks.waiting import Loader, Training, first_byte, whole_file
from tests.benchmarks.wanted import COLUMNS, judge, plain, table
from tierfs.cli.command import DIRECTORY, FILE, SIZE
from tierfs.common.errors import ExitCode, TierfsError, UsageError
from tierfs.common.units import KIB, MIB, format_size
from tierfs.daemon.interpreter import module_command

MEMORY: Final = "tmpfs"
SHM: Final = "/dev/shm"  # noqa: S108 - only the parent for mkdtemp
TMP: Final = "/var/tmp"  # noqa: S108 - only the parent for mkdtemp
SIDES: Final = (
    *(NATIVE, FLOOR, TIERFS, PYTHON, MERGERFS, BINDFS, BEFORE),
    *(EXT4, FLOOR_ON_EXT4, ON_EXT4, BEFORE_ON_EXT4),
)
BOTH: Final = (BEFORE, TIERFS, BEFORE_ON_EXT4, ON_EXT4)
TURNS, PAIRS = 5, 15
INSTALLED: Final = ".venv/bin/tierfs"
INTERRUPTED: Final = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""
KERNEL_READ_AHEAD: Final = "1280KiB"
"""What one read(2) gets of a disk in one piece (max_sectors_kb of the kernel's block layer).

The kernel reads ahead by 128 KiB on a disk, but takes a larger read(2) as a whole; of a FUSE
mount it does not, so that the read-ahead must be as large. That is in favour of the disk.
"""

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class NamesType(click.ParamType[tuple[str, ...]]):
    """Some of several names, with commas between them; an alias stands for several."""

    name = "names"

    def __init__(self, known: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> None:
        self.known = known
        self.aliases = aliases

    def convert(
        self,
        value: str | tuple[str, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, ...]:
        """``rename,unlink`` as both; click shows which there are instead of a wrong one."""
        if isinstance(value, tuple):
            return value
        asked = [name.strip() for name in value.split(",")]
        for name in asked:
            if name not in self.known and name not in self.aliases:
                there = ", ".join([*self.known, *self.aliases])
                self.fail(f'"{name}" is none of: {there}', param, ctx)
        return tuple(one for name in asked for one in self.aliases.get(name, (name,)))


def number(name: str, default: int | None, text: str, *, least: int = 1) -> Decorator:
    """An option that takes a whole number."""
    kind = click.IntRange(least)
    return click.option(name, type=kind, default=default, show_default=True, help=text)


def size(name: str, default: str, text: str) -> Decorator:
    """An option that takes a size with a unit."""
    return click.option(name, type=SIZE, default=default, show_default=True, help=text)


@click.group()
def benchmarks() -> None:
    """Benchmarks of tierfs beside other directories, and a simulated disk. Run them as root."""


# ---------------------------------------------------------------- the acceptance run


@benchmarks.command()
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
@number("--repeat", None, "Turns of each side.  [default: 5, with --against 15]")
@number("--files", 20_000, "Files of the epochs and lookups.")
@number("--walked", 100_000, "Files of the walks.")
@number("--created", 2000, "Files created in a turn.")
@number("--changed", 2000, "Files and directories changed in a turn.")
@size("--write-size", "256MiB", "Of the file written.")
@number("--tree-files", 80_000, "Files of the tree that is unpacked.")
@click.option("--tar", "archive", type=FILE, help="Unpack this uncompressed archive instead.")
@size("--stream-size", "1GiB", "Of the large file.")
@number("--spinning-files", 1000, "Files on the simulated disk.", least=20)
@number("--batches", 40, "Batches of the simulated training.")
@number("--memory-files", 0, "Files looked up for the daemon's memory; 0: not measured.", least=0)
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
    help="The same, for what is to be on a disk.",
)
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
def suite(json_file: Path | None, **given: object) -> None:
    """Measure tierfs beside the bare directory, itself without the fast path, mergerfs and bindfs.

    Everything is made in new directories in memory (--dir) and, for what is to be read from a
    real disk, in --disk-dir; it is unmounted and deleted in the end, after Ctrl-C as well.
    """
    require_writable(json_file)
    settings, outcome = _settings(given), Outcome(show)
    try:
        play(settings, outcome, say)
    finally:
        _conclude(settings, outcome, json_file)
    if outcome.failures:
        raise TierfsError.of_lines(["not everything could be measured:", *outcome.failures])


def _conclude(settings: Settings, outcome: Outcome, json_file: Path | None) -> None:
    """Judge and write what there is, also after an interrupt."""
    if not outcome.reports:
        return
    part = settings.only or settings.sides
    verdicts = [one for one in judge(outcome.reports) if one.measured or not part]
    if verdicts:
        met = [one.met for one in verdicts]
        remark = (
            f"{met.count(True)} met, {met.count(False)} not met, {met.count(None)} not measured."
        )
        show_rows("Wanted and measured", COLUMNS, table(verdicts), [remark])
    if settings.against:
        found = paired.pairs(outcome.reports)
        slower = [one.name for one in found if one.verdict == "slower"]
        remark = f"{len(slower)} of {len(found)} are slower by more than 5 %."
        show_rows("Before and after, turn by turn", paired.COLUMNS, paired.table(found), [remark])
    reports = [report for mode in outcome.reports.values() for report in mode]
    write(reports, json_file, plain(verdicts))


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
    require_steps("--stream-size", sizes.stream_bytes)
    require_steps("--write-size", sizes.write_bytes)
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


def require_steps(option: str, given: int) -> None:
    """Raise UsageError unless a size is a multiple of what one call reads or writes."""
    if given < STEP or given % STEP:
        raise UsageError(f"{option} {format_size(given)}: choose a multiple of {format_size(STEP)}")


def require_writable(path: Path | None) -> None:
    """Raise UsageError now for what could not be written after an hour of measuring."""
    if path and not path.absolute().parent.is_dir():
        raise UsageError(f"{path.absolute().parent} does not exist; make it first")


def _program(against: str) -> Sequence[str]:
    """Raises UsageError for a directory that holds no tierfs."""
    if not Path(against).is_dir():
        return shlex.split(against)
    program = Path(against).absolute() / INSTALLED
    if not program.exists():
        raise UsageError(f"--against {against}: there is no {INSTALLED}; run make setup there")
    return [str(program)]


# ---------------------------------------------------------------- scenarios on directories

SCENARIOS: Final[Mapping[str, Callable[[int, int], Scenario]]] = {
    "epoch": lambda files, _: Epoch(Dataset(files, 32 * KIB, labelled=True)),
    "metadata": lambda files, _: Metadata(Dataset(files, 32 * KIB, labelled=True)),
    "walk": lambda files, _: Walks(Dataset(files, 0)),
    "stream": lambda _, stream: Stream(stream),
    "ingest": lambda files, _: Ingest(files),
    "first-byte": lambda files, _: first_byte(mostly_small(files)),
    "whole-file": lambda files, _: whole_file(mostly_small(files)),
    "loader": lambda files, _: Loader("loader", images(files, 10 * KIB, 60 * KIB), Training()),
}


@benchmarks.command(name="measure")
@click.argument("directories", metavar="[NAME=]DIR...", nargs=-1, required=True)
@click.option(
    "--only",
    type=NamesType(tuple(SCENARIOS), {}),
    default=tuple(SCENARIOS),
    metavar="NAME,...",
    help=f"Only these of: {', '.join(SCENARIOS)}.",
)
@number("--files", 2000, "Files of each scenario.", least=64)
@size("--stream-size", "256MiB", "Of the large file.")
@number("--repeat", TURNS, "Turns of each directory.")
@number("--pin", None, "Keep readers and daemons on this core.  [default: free]", least=0)
@click.option("--keep", is_flag=True, help="Leave the generated files for the next run.")
@click.option("--json", "json_file", type=FILE, help="Write every sample to this file.")
def measure_directories(
    directories: Sequence[str],
    only: Sequence[str],
    files: int,
    stream_size: int,
    repeat: int,
    pin: int | None,
    *,
    keep: bool,
    json_file: Path | None,
) -> None:
    """Play scenarios of the acceptance run on directories of yours; ratios are to the first."""
    require_writable(json_file)
    require_steps("--stream-size", stream_size)
    sides = []
    for given in directories:
        name, _, path = given.rpartition("=")
        sides.append(Side(name or Path(path).name or path, Path(path)))
        if not Path(path).is_dir():
            raise UsageError(f"{path} is not a directory")
    if len({side.name for side in sides}) < len(sides):
        raise UsageError("two directories have one name: give them others, NAME=DIR")
    scenarios = [SCENARIOS[name](files, stream_size) for name in only]
    try:
        report = measure("Scenarios", scenarios, sides, Conditions(repeat, pin), say)
    finally:
        if not keep:
            for side in sides:
                shutil.rmtree(work_directory(side), ignore_errors=True)
    show(report)
    write([report], json_file)


# ---------------------------------------------------------------- a simulated disk


def milliseconds(name: str, default: float, text: str) -> Decorator:
    """An option that takes a time in milliseconds."""
    kind = click.FloatRange(min=0)
    return click.option(
        name, type=kind, default=default, show_default=True, metavar="MS", help=text
    )


@benchmarks.command()
@click.argument("backing", metavar="BACKING", type=DIRECTORY)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=click.Path(path_type=Path))
@size("--kernel-read-ahead", KERNEL_READ_AHEAD, "The most the kernel asks for at once.")
@click.option(
    "--rpm",
    type=click.FloatRange(min=1),
    default=7200.0,
    show_default=True,
    help="Revolutions a minute.",
)
@milliseconds("--settle", 1.0, "A seek to the next track.")
@milliseconds("--seek", 8.5, "The average seek.")
@milliseconds("--full-seek", 18.0, "A seek from the first track to the last.")
@size("--rate", "180MB", "Bytes that pass under the head in a second.")
@size("--read-ahead", format_size(MIB), "How far the idle head reads on into the disk's buffer.")
@click.option(
    "--capacity",
    type=SIZE,
    default=0,
    help="What the arm spans.  [default: as much as is stored, a full disk]",
)
@click.option(
    "--order",
    type=click.Choice(["elevator", "fifo"]),
    default="elevator",
    show_default=True,
    help="Who is served next: by address as mq-deadline of Linux does, or as they came.",
)
@click.option(
    "--scale",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="A factor for every delay; 0: none.",
)
def disk(backing: Path, mountpoint: Path, kernel_read_ahead: int, **given: Any) -> None:  # noqa: ANN401 - click's own
    """Show BACKING, a directory in memory, on MOUNTPOINT, as slow as a hard disk.

    Serves until it is unmounted or interrupted. Simulated are seeks, rotation, transfer and a
    queue that is served in the best order.
    """
    try:
        geometry = Geometry(
            rpm=given["rpm"],
            settle_s=given["settle"] / 1e3,
            average_seek_s=given["seek"] / 1e3,
            full_seek_s=given["full_seek"] / 1e3,
            rate=float(given["rate"]),
            read_ahead=given["read_ahead"],
            capacity=given["capacity"],
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    simulated = SimulatedDisk(geometry, given["order"], given["scale"])
    for line in assumptions(simulated):
        click.echo(line)
    click.echo(f"kernel      asks for at most {format_size(kernel_read_ahead)} at once")

    def ready(real: Path) -> None:
        click.echo(f"{backing.absolute()} is mounted on {real}; end with Ctrl-C or: umount {real}")

    # Imported here: nothing else needs pyfuse3, and trio leaves threads that a fork would meet.
    from tests.benchmarks.disk.serve import serve  # noqa: PLC0415

    serve(backing.absolute(), mountpoint, simulated, kernel_read_ahead, ready)


benchmarks.add_command(compare)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code, after a message on stderr if it failed."""
    try:
        benchmarks.main(arguments, prog_name="python -m tests.benchmarks", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (TierfsError, OSError) as error:
        click.echo(f"benchmarks: {error}", err=True)
        return error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
