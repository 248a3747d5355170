"""``tierfs training status``: what training jobs announce, and how far they are."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

import click

from tierfs.cli.command import PATH, Command, CommandGroup
from tierfs.cli.messages import aligned, counted
from tierfs.common.errors import printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask

EXAMPLES = """
tierfs training status /mnt/images
"""

STATUS_EXAMPLES = """
tierfs training status /mnt/images
tierfs training status --json /mnt/images | jq '.ranks[].waited_s'
"""


@click.group(
    cls=CommandGroup,
    modules={"status": "tierfs.cli.training:status"},
    epilog=EXAMPLES,
    name="training",
    short_help="Show what training jobs announce.",
)
def command() -> None:
    """Show what training jobs announce that they read next.

    A job does so with the Python package tierfs.training.
    """


@click.command(
    cls=Command,
    epilog=STATUS_EXAMPLES,
    name="status",
    short_help="Show jobs, their positions, hits and waits.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def status(mounted: Path, *, as_json: bool) -> None:
    """Show the jobs that announce what they read next, a line for each rank.

    HITS: of the files that were reached, the part that was in memory by then. WAITED: how long the
    job has waited for its files, as it says.
    """
    record = ask(mounted, "training status")
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return
    ranks = record["ranks"]
    memory = format_size(record["memory"])
    click.echo(f"{counted(len(ranks), 'announcement', 'announcements')}, {memory} for them")
    if ranks:
        head = ("USER", "JOB", "RANK", "POSITION", "AHEAD", "HITS", "WAITED", "READ")
        for line in aligned([head, *map(_row, ranks)]):
            click.echo(printable(line))


def _row(rank: dict[str, Any]) -> tuple[str, ...]:
    reached = rank["hits"] + rank["late"]
    return (
        _user(rank["user"]),
        rank["job"],
        str(rank["rank"]),
        f"{rank['position']:,}",
        f"{rank['read_ahead']:,}",
        f"{rank['hits'] / reached:.1%}" if reached else "-",
        f"{rank['waited_s']:.1f} s",
        format_size(rank["read_bytes"]),
    )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
