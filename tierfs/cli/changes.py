"""``tierfs changes``: what changes in a mount, as it changes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from tierfs.cli.command import PATH, Command
from tierfs.common.errors import TierfsError, printable
from tierfs.daemon.changes import FROM_READER, NAMELESS
from tierfs.daemon.control_client import ask

POLL_S: Final = 0.5

EXAMPLES = """
tierfs changes --follow --json /mnt/images
tierfs changes --follow --json --reader search /mnt/images | index-for-search
tierfs changes --forget --reader search /mnt/images
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="changes", short_help="Follow what changes in a mount."
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("--follow", is_flag=True, help="Continue with what comes, until interrupted.")
@click.option(
    "--from",
    "after",
    type=click.IntRange(0),
    metavar="SERIAL",
    help="Begin behind this change.  [default: where the reader is]",
)
@click.option(
    "--reader",
    metavar="NAME",
    help="Keep changes for this name until it has read them, also while it does not run.",
)
@click.option("--forget", is_flag=True, help="Keep no changes for the reader any more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(
    mounted: Path,
    *,
    follow: bool,
    after: int | None,
    reader: str | None,
    forget: bool,
    as_json: bool,
) -> None:
    """Print each change of a name, an attribute, an extended attribute, and of bytes.

    A change is printed when it is durable, with what it made of the row: changes can be carried out
    twice. A reader with a name continues behind what it has printed. One that is too far behind
    ends with an error, and starts over with a scan. Without a name nothing is kept after the end.
    """
    if forget:
        if reader is None:
            raise click.UsageError("--forget needs the name of a reader: --reader NAME")
        ask(mounted, "forget reader", reader=reader)
        return
    name = reader or f"{NAMELESS}{os.getpid()}"
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)  # or nobody would forget the reader
    at = FROM_READER if after is None else after
    try:
        while True:
            answer = ask(mounted, "changes", reader=name, after=at)
            for change in answer["changes"]:
                click.echo(json.dumps(change) if as_json else _line(change))
            moved, at = at != answer["next"], answer["next"]
            if not answer["changes"] and not follow:
                return
            if not moved:
                time.sleep(POLL_S)
    finally:
        if reader is None:
            with suppress(TierfsError):
                ask(mounted, "forget reader", reader=name)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _line(change: dict[str, Any]) -> str:
    what = change.get("of", "bytes")
    key = " ".join(
        f"{name}={printable(str(change[name]))}"
        for name in ("parent", "name", "ino", "below")
        if name in change and not (what == "pin" and name == "below")
    )
    return f"{change['serial']} {change['change']} {what} {key}"
