"""``tierfs bench spindle``: a directory that behaves like a spinning disk."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from tierfs.base.errors import UsageError
from tierfs.base.units import MIB, format_size
from tierfs.bench.spindle_model import Geometry, Spindle, assumptions
from tierfs.cli.bench.types import DIRECTORY, SIZE
from tierfs.cli.verb import Verb

SERVE: Final = "tierfs.mount.spindle.serve"
KERNEL_READ_AHEAD: Final = "1280KiB"
"""What one read(2) gets of a disk in one piece (max_sectors_kb of the kernel's block layer).

The kernel reads ahead by 128 KiB on a disk, but takes a larger read(2) as a whole; of a FUSE
mount it does not, so that the read-ahead must be as large. That is in favour of the disk.
"""
EXAMPLES = """
tierfs bench spindle /dev/shm/backing /mnt/disk
tierfs bench spindle /dev/shm/backing /mnt/disk --rpm 5400 --seek 12 --full-seek 25
tierfs bench spindle /dev/shm/backing /mnt/disk --capacity 4TB --order fifo
"""

MILLISECONDS = click.FloatRange(min=0)
OPTIONS: Final = (
    click.option(
        "--rpm",
        type=click.FloatRange(min=1),
        default=7200.0,
        show_default=True,
        help="Revolutions a minute.",
    ),
    click.option(
        "--settle",
        type=MILLISECONDS,
        default=1.0,
        show_default=True,
        metavar="MS",
        help="A seek to the next track.",
    ),
    click.option(
        "--seek",
        type=MILLISECONDS,
        default=8.5,
        show_default=True,
        metavar="MS",
        help="The average seek.",
    ),
    click.option(
        "--full-seek",
        type=MILLISECONDS,
        default=18.0,
        show_default=True,
        metavar="MS",
        help="A seek from the first track to the last.",
    ),
    click.option(
        "--rate",
        type=SIZE,
        default="180MB",
        show_default=True,
        metavar="SIZE",
        help="Bytes that pass under the head in a second.",
    ),
    click.option(
        "--read-ahead",
        type=SIZE,
        default=format_size(MIB),
        show_default=True,
        help="How far the idle head reads on into the drive's buffer.",
    ),
    click.option(
        "--capacity",
        type=SIZE,
        default=0,
        help="What the arm spans.  [default: as much as is stored, a full drive]",
    ),
    click.option(
        "--order",
        type=click.Choice(["elevator", "fifo"]),
        default="elevator",
        show_default=True,
        help="Who is served next: by address as mq-deadline of Linux does, or as they came.",
    ),
    click.option(
        "--scale",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        help="A factor for every delay; 0: none.",
    ),
)


def drive_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that describe a drive; `drive_of` reads them."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def drive_of(given: dict[str, Any]) -> Spindle:
    """The drive of the options in ``given``, which are taken out.

    Raises:
        UsageError: there can be no such drive.
    """
    try:
        geometry = Geometry(
            rpm=given.pop("rpm"),
            settle_s=given.pop("settle") / 1e3,
            average_seek_s=given.pop("seek") / 1e3,
            full_seek_s=given.pop("full_seek") / 1e3,
            rate=float(given.pop("rate")),
            read_ahead=given.pop("read_ahead"),
            capacity=given.pop("capacity"),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Spindle(geometry, given.pop("order"), given.pop("scale"))


@click.command(cls=Verb, epilog=EXAMPLES, name="spindle", short_help="Simulate a spinning disk.")
@click.argument("backing", metavar="BACKING", type=DIRECTORY)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=click.Path(path_type=Path))
@click.option(
    "--kernel-read-ahead",
    type=SIZE,
    default=KERNEL_READ_AHEAD,
    show_default=True,
    help="The most the kernel asks for at once.",
)
@drive_options
def command(backing: Path, mountpoint: Path, kernel_read_ahead: int, **given: object) -> None:
    """Show BACKING, a directory in memory, on MOUNTPOINT, as slow as a hard disk drive.

    Serves until it is unmounted or interrupted. Simulated are seeks, rotation, transfer rates by
    zone and a queue that is served in the best order.
    """
    spindle = drive_of(given)
    for line in assumptions(spindle):
        click.echo(line)
    click.echo(f"kernel      asks for at most {format_size(kernel_read_ahead)} at once")

    def ready(real: Path) -> None:
        click.echo(f"{backing.absolute()} is mounted on {real}; end with Ctrl-C or: umount {real}")

    import_module(SERVE).serve(backing.absolute(), mountpoint, spindle, kernel_read_ahead, ready)
