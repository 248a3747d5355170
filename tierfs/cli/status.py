"""``tierfs status``: what a mount is made of and how full it is."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tierfs.base.units import format_size
from tierfs.cli.verb import Verb
from tierfs.mount.control import ask

EXAMPLES = """
tierfs status /mnt/images
tierfs status /mnt/images --json | jq .tiers.flash.free
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="status", short_help="Show what a mount is made of.")
@click.argument("mountpoint", metavar="MOUNTPOINT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(mountpoint: Path, *, as_json: bool) -> None:
    """Show the tiers, index, options and daemon of the tierfs mount at MOUNTPOINT."""
    status = ask(mountpoint, "status")
    if as_json:
        click.echo(json.dumps(status, indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    console.print(facts(status))
    console.print()
    console.print(tiers(status))


def facts(status: dict[str, Any]) -> Table:
    """The mount's properties, one a line."""
    index = status["index"]
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("volume", status["volume"]),
        ("UUID", status["uuid"]),
        ("mounted on", status["mountpoint"]),
        ("daemon", f"process {status['pid']}, up {duration(status['uptime_s'])}"),
        ("options", ",".join(status["options"])),
        ("head", format_size(status["head"])),
        ("index", f"{index['path']}, {format_size(index['bytes'])}, {index['inodes']:,} inodes"),
        ("log", status["log"] or "standard error or the journal"),
    ):
        table.add_row(name, str(value))
    return table


def tiers(status: dict[str, Any]) -> Table:
    """A row for each tier."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("tier")
    table.add_column("directory", overflow="fold")
    for name in ("capacity", "free", "files", "bytes"):
        table.add_column(name, justify="right")
    for name, tier in status["tiers"].items():
        sizes = [format_size(tier[key]) for key in ("capacity", "free", "bytes")]
        table.add_row(name, tier["directory"], *sizes[:2], f"{tier['files']:,}", sizes[2])
    return table


def duration(seconds: float) -> str:
    """``seconds`` as ``2 days, 3:04:05``."""
    return str(timedelta(seconds=int(seconds)))
