"""The group of verbs ``tierfs bench``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

from tierfs.cli.verb import write_examples

VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "epoch": "tierfs.cli.bench.epoch",
        "metadata": "tierfs.cli.bench.metadata",
        "stream": "tierfs.cli.bench.stream",
        "ingest": "tierfs.cli.bench.ingest",
        "suite": "tierfs.cli.bench.suite",
        "first-byte": "tierfs.cli.bench.first_byte",
        "whole-file": "tierfs.cli.bench.whole_file",
        "loader": "tierfs.cli.bench.loader",
        "spindle": "tierfs.cli.bench.spindle",
        "spinning-disk": "tierfs.cli.bench.spinning_disk",
        "migration": "tierfs.cli.bench.migration",
        "policy": "tierfs.cli.bench.policy",
    }
)
"""Each verb's module, whose ``command`` it is; imported only when asked for."""

EXAMPLES = """
tierfs bench epoch /mnt/images --native /nvme/plain --versus mergerfs=/mnt/m
tierfs bench metadata /mnt/images --pin 0 --json figures.json --chart figures.svg
tierfs bench suite
"""


class BenchVerbs(click.Group):
    """Finds the verbs in ``VERBS``."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The verbs, the simplest first."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(VERBS[cmd_name]).command
        return command

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        write_examples(formatter, self.epilog or "")


@click.group(
    cls=BenchVerbs,
    epilog=EXAMPLES,
    name="bench",
    short_help="Measure a mount beside other directories.",
)
def command() -> None:
    """Measure a mount, the bare directory and any other filesystem, in turns, and compare them."""
