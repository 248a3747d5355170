"""A command whose help ends with examples, printed as they are written."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Final

import click


class Verb(click.Command):
    """A command whose ``epilog`` is examples."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.epilog or "")


class PlainPath(click.ParamType[Path]):
    """A path that is only taken down: click.Path asks for the file, and a mount may hang."""

    name = "path"

    def convert(
        self, value: str | Path, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> Path:
        """The path as it was given."""
        return Path(value)


PATH: Final = PlainPath()


class VerbGroup(click.Group):
    """A command with verbs of its own, each imported when it is asked for.

    ``verbs`` says where each is: ``MODULE``, of which it is ``command``, or ``MODULE:NAME``.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The verbs in the order in which people meet them."""
        return list(self.verbs)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb; None: there is no such verb."""
        if cmd_name not in self.verbs:
            return None
        module, _, name = self.verbs[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name or "command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that the command line begins with, or a guess at which was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.verbs, n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from None

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.epilog or "")


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """A section of examples; click itself would fill their lines into a paragraph."""
    with formatter.section("Examples"):
        formatter.write(indent(dedent(examples).strip(), "  ") + "\n")
