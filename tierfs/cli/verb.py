"""A command whose help ends with examples, printed as they are written."""

from __future__ import annotations

from textwrap import dedent, indent

import click


class Verb(click.Command):
    """A command whose ``epilog`` is examples."""

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.epilog or "")


def write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    """A section of examples; click itself would fill their lines into a paragraph."""
    with formatter.section("Examples"):
        formatter.write(indent(dedent(examples).strip(), "  ") + "\n")
