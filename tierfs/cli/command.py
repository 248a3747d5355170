"""What every command is made of: its class with examples in the help, groups, parameter types."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from tierfs.common.units import parse_duration, parse_size


class Command(click.Command):
    """A command whose ``epilog`` is a list of examples."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, self.epilog or "")


class CommandGroup(click.Group):
    """A group of commands, each imported when it is used.

    ``modules`` says where each is: ``MODULE``, of which it is ``command``, or ``MODULE:NAME``.
    """

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.modules = modules

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
            close = difflib.get_close_matches(args[0], self.modules, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from None

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        _write_examples(formatter, self.epilog or "")


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
