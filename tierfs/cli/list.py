"""``tierfs list``: the mounts of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tierfs.cli.messages import aligned
from tierfs.cli.verb import Verb
from tierfs.common.text import printable
from tierfs.daemon.census import Listed, census

EXAMPLES = """
tierfs list
tierfs list --json | jq -r '.[] | select(.state == "dead") | .mountpoint'
"""
HEADINGS = ("mountpoint", "volume file", "state", "process", "UUID")


@click.command(cls=Verb, epilog=EXAMPLES, name="list", short_help="List the mounts.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(*, as_json: bool) -> None:
    """List the tierfs mounts, and the daemons whose mount is not seen here any more.

    States: mounted; dead (its daemon is gone: mount it again); starting; closing (unmounted, and
    being written out); detached (unmounted lazily, or mounted in another mount namespace, and
    still in use). No mount is asked, so the list comes also while one hangs.
    """
    found = census()
    if as_json:
        click.echo(json.dumps([listed._asdict() for listed in found], indent=2))
    elif found:
        for line in aligned([HEADINGS, *(_row(listed) for listed in found)]):
            click.echo(line)


def _row(listed: Listed) -> tuple[str, ...]:
    pid = "?" if listed.pid is None else str(listed.pid)
    return (
        printable(bytes(Path(listed.mountpoint))),
        printable(bytes(Path(listed.volume))),
        listed.state,
        pid,
        listed.uuid or "?",
    )
