"""The command line of the demonstration."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from tierfs.base.errors import ExitCode, TierfsError
from tierfs.base.units import MIB, format_size, parse_size
from tierfs.demo import app
from tierfs.demo.source import find_python_trees
from tierfs.demo.space import Images, usual_place
from tierfs.demo.ui import Ui, make_console

FILES = 1_200
SIZE = 600 * MIB
INTERRUPTED = 130
"""What shells report for a program that Ctrl-C ended."""

DIRECTORY = click.Path(exists=True, file_okay=False, writable=True, path_type=Path)


def _bytes(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """A size as in the volume file, in bytes; a bad one is refused with the reason."""
    try:
        return parse_size(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--files", type=click.IntRange(1, 1_000_000), default=FILES, show_default=True)
@click.option("--size", callback=_bytes, default=format_size(SIZE), show_default=True)
@click.option("--dir", "place", type=DIRECTORY, help="Where to make the temporary directories.")
@click.option("--flash", type=DIRECTORY, help="Where to make the flash tier, to try real flash.")
@click.option("--disk", type=DIRECTORY, help="Where to make the disk tier and the source.")
@click.option("--keep", is_flag=True, help="Leave the volume mounted and delete nothing.")
@click.option("--yes", is_flag=True, help="Ask nothing, also when space is short.")
def main(
    files: int,
    size: int,
    place: Path | None,
    flash: Path | None,
    disk: Path | None,
    *,
    keep: bool,
    yes: bool,
) -> None:
    """Make a volume, fill it, compare every byte, show where the bytes lie, clean up.

    Generated images (--files, --size in total) and the Python installation of this machine are
    copied into a temporary volume. Ends with 0 when everything is equal and 7 when not.
    """
    wanted = Images(files, size)
    settings = app.Settings(wanted, place or usual_place(), flash, disk, keep=keep)
    sys.exit(_run(settings, Ui(make_console()), ask=not yes))


def _run(settings: app.Settings, ui: Ui, *, ask: bool) -> int:
    """Run and say what went wrong, if anything; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        if ask and ui.console.is_terminal:
            _ask_when_short(settings)
        app.run(settings, ui)
    except TierfsError as exc:
        return _complain(str(exc), exc.exit_code)
    except OSError as exc:
        return _complain(f"{exc.strerror or exc}: {exc.filename or ''}", ExitCode.UNEXPECTED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    return ExitCode.OK


def _stop(_number: int, _frame: FrameType | None) -> None:
    """A signal to end does what Ctrl-C does: clean up first."""
    raise KeyboardInterrupt


def _ask_when_short(settings: app.Settings) -> None:
    fitting = app.plan(settings, find_python_trees())
    if fitting != settings.images:
        offered = app.describe(fitting, settings.place)
        click.confirm(f"Space is short. Go on with {offered}?", default=True, abort=True)


def _complain(message: str, code: int) -> int:
    click.echo(f"tierfs demo: {message}", err=True)
    return code


if __name__ == "__main__":
    # Modules that are imported from now on must not be written into the tree that is compared.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    main()
