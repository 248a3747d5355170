"""What every command is made of: its class with examples in the help, groups, parameter types."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from types import MappingProxyType
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from tierfs.common.errors import VolumeBusy
from tierfs.common.units import parse_duration, parse_size

F = TypeVar("F", bound=Callable[..., Any])
QUIET: Final = "tierfs.quiet"
"""In a context's ``meta``: whether only problems are printed."""


class Command(click.Command):
    """A command whose ``epilog`` is a list of examples.

    If it has a parameter ``volume_file``, and the volume is in use, the error says where it is
    mounted.
    """

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - what the command returns
        """Call the command."""
        try:
            return super().invoke(ctx)
        except VolumeBusy as busy:
            volume_file = ctx.params.get("volume_file")
            if isinstance(volume_file, Path) and (where := _where_mounted(volume_file)):
                raise VolumeBusy(where) from busy
            raise

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, self.epilog or "")


class CommandGroup(click.Group):
    """A group of commands, each imported when it is used.

    ``modules`` says where each is: ``MODULE``, of which it is ``command``, or ``MODULE:NAME``.
    ``headings`` has those of the help, each by the first command below it.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own
        modules: Mapping[str, str],
        headings: Mapping[str, str] = MappingProxyType({}),
        **kwargs: Any,  # noqa: ANN401 - click's own
    ) -> None:
        super().__init__(*args, **kwargs)
        self.modules = modules
        self._headings = headings

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of ``modules``."""
        return list(self.modules)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; None: there is none."""
        if cmd_name not in self.modules:
            return None
        module, _, name = self.modules[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the command line begins with; the error suggests a similar name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # Only for a message, as in `_where_mounted`.
            close = import_module("difflib").get_close_matches(args[0], self.modules, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each below its heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        heading = "Commands"
        width = max(map(len, self.modules))
        for name in self.list_commands(ctx):
            heading = self._headings.get(name, heading)
            command = self.get_command(ctx, name)
            if command is not None:
                row = (name.ljust(width), command.get_short_help_str(formatter.width))
                sections.setdefault(heading, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, self.epilog or "")


def may_be_quiet(command: F) -> F:
    """Give a command the option ``--quiet``: nothing on standard output, and no progress."""
    option = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_be_quiet,
        help="Print problems only.",
    )
    return option(command)


def _be_quiet(ctx: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        ctx.meta[QUIET] = True
        ctx.with_resource(_silence())


@contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def _where_mounted(volume_file: Path) -> str:
    # Only for a message: what it needs is not loaded for each command.
    settings = import_module("tierfs.policy.volume_file").load_volume_file(volume_file)
    where: str = import_module("tierfs.daemon.holder").where_mounted(settings)
    return where


def _write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    # click itself would fill the lines into a paragraph.
    with formatter.section("Examples"):
        formatter.write(indent(dedent(examples).strip(), "  ") + "\n")


# ------------------------------------------------------------------ parameter types


class PlainPath(click.ParamType[Path]):
    """A path that is not looked up: click.Path does that, and a mount may hang."""

    name = "path"

    def convert(
        self, value: str | Path, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> Path:
        """The path as given."""
        return Path(value)

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The shell itself completes paths."""
        return [CompletionItem(incomplete, type="file")]


class SizeType(click.ParamType[int]):
    """A size with a unit, in bytes."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``64KiB`` as 65536; click shows what is wrong with a bad one."""
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[int]):
    """A duration with a unit, in nanoseconds."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``7d`` in nanoseconds; click shows what is wrong with a bad one."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


PATH: Final = PlainPath()
DIRECTORY: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(dir_okay=False, path_type=Path)
SIZE: Final = SizeType()
DURATION: Final = DurationType()


def disk_options(command: F) -> F:
    """Give a command the options that say what a read from disk costs."""
    latency = click.option(
        "--disk-latency",
        type=click.FloatRange(min=0),
        metavar="MS",
        default=8.0,
        show_default=True,
        help="Milliseconds until the disk gives the first byte of a read; see `tierfs bench`.",
    )
    rate = click.option(
        "--disk-rate",
        type=SIZE,
        metavar="SIZE",
        default="150MB",
        show_default=True,
        help="What one reader gets from the disk in a second.",
    )
    return latency(rate(command))
