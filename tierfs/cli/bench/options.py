"""The options that the verbs of ``tierfs bench`` share: what to measure, and how."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import click

from tierfs.base.errors import UsageError
from tierfs.bench.framework.runner import Conditions
from tierfs.bench.framework.side import Side
from tierfs.cli.bench.sides import Asked, sides_of
from tierfs.cli.bench.types import DIRECTORY, FILE, NAMED

CHART: Final = ".svg"

OPTIONS: Final = (
    click.argument("directory", metavar="DIR", type=DIRECTORY),
    click.option(
        "--native",
        type=DIRECTORY,
        metavar="DIR",
        help="The bare directory to compare with.  [default: one beside the flash directory]",
    ),
    click.option(
        "--versus",
        type=NAMED,
        multiple=True,
        metavar="NAME=DIR",
        help="One more directory, such as another filesystem over the same data; repeatable.",
    ),
    click.option(
        "--baseline",
        metavar="NAME",
        help="The side that ratios are taken to.  [default: the bare directory]",
    ),
    click.option(
        "--repeat",
        type=click.IntRange(1),
        default=5,
        show_default=True,
        help="How many turns each side has.",
    ),
    click.option(
        "--pin",
        type=click.IntRange(0),
        metavar="CORE",
        help="Keep readers and daemons on one core.  [default: free to move]",
    ),
    click.option(
        "--pin-daemon",
        "pin_daemons",
        type=click.IntRange(1),
        multiple=True,
        metavar="PID",
        help="One more process to pin; FUSE daemons are found without it.",
    ),
    click.option(
        "--cold",
        type=click.Choice(["kernel", "remount", "none"]),
        help="What is dropped for a first read: the kernel's caches, the mount as well, or "
        "nothing.  [default: remount for the sides that --remount names, else kernel]",
    ),
    click.option(
        "--remount",
        type=NAMED,
        multiple=True,
        metavar="NAME=COMMAND",
        help="The shell command that unmounts a side and mounts it again; repeatable.",
    ),
    click.option("--json", "json_file", type=FILE, help="Write every sample to this file."),
    click.option("--chart", "chart_file", type=FILE, help="Draw an SVG chart to this file."),
    click.option("--remove", is_flag=True, help="Delete the generated files in the end."),
)


@dataclass(frozen=True, slots=True)
class Output:
    """Where a report goes, besides the terminal."""

    json_file: Path | None = None
    chart_file: Path | None = None

    def check(self) -> None:
        """Raise UsageError now for what could not be written after an hour of measuring."""
        if self.chart_file and self.chart_file.suffix != CHART:
            raise UsageError(f"--chart {self.chart_file}: only {CHART} files are drawn")
        for path in (self.json_file, self.chart_file):
            if path and not path.absolute().parent.is_dir():
                raise UsageError(f"{path.absolute().parent} does not exist; make it first")


@dataclass(frozen=True, slots=True)
class Setup:
    """What the shared options say; ``sides[0]`` is the baseline. ``remove``: delete the files."""

    sides: tuple[Side, ...]
    conditions: Conditions
    output: Output
    remove: bool


def measured(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; the function gets them as its argument ``setup``."""

    @functools.wraps(function)
    def call(**given: object) -> None:
        function(setup=_set_up(given), **given)

    decorated: Callable[..., None] = call
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated


def _set_up(given: dict[str, Any]) -> Setup:
    """Take the shared options out of ``given``; raises UsageError when they make no sense."""
    output = Output(given.pop("json_file"), given.pop("chart_file"))
    output.check()
    conditions = Conditions(given.pop("repeat"), given.pop("pin"))
    remove = given.pop("remove")
    asked = Asked(**{field.name: given.pop(field.name) for field in fields(Asked)})
    return Setup(sides_of(asked), conditions, output, remove)
