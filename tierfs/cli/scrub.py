"""``tierfs scrub``: compare all bytes of a mounted volume with their checksums, and heal copies."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command, CommandGroup, may_be_quiet
from tierfs.cli.messages import TOLD, aligned, counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode, printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask

POLL_S: Final = 0.5

EXAMPLES = """
tierfs scrub start /mnt/images
tierfs scrub status /mnt/images
"""

START_EXAMPLES = """
tierfs scrub start /mnt/images
tierfs scrub start --wait /etc/tierfs/images.yaml && echo all right
"""

PAUSE_EXAMPLES = """
tierfs scrub pause /mnt/images
"""

STATUS_EXAMPLES = """
tierfs scrub status /mnt/images
tierfs scrub status --json /mnt/images | jq -r '.lost_paths[]'
"""

MOUNTED: Final = click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
AS_JSON: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes."
)


@click.group(
    cls=CommandGroup,
    modules={
        "start": "tierfs.cli.scrub:start",
        "pause": "tierfs.cli.scrub:pause",
        "status": "tierfs.cli.scrub:status",
    },
    epilog=EXAMPLES,
    name="scrub",
    short_help="Compare all bytes with their checksums, and heal copies.",
)
def command() -> None:
    """Compare all bytes of a mounted volume with their checksums, and heal wrong copies.

    For a volume that is not mounted: `tierfs fsck --data`.
    """


@click.command(
    cls=Command,
    epilog=START_EXAMPLES,
    name="start",
    short_help="Begin a scrub, or continue one that is paused.",
)
@MOUNTED
@click.option("--wait", is_flag=True, help="Return when it is complete, or somebody paused it.")
@AS_JSON
@may_be_quiet
def start(mounted: Path, *, wait: bool, as_json: bool) -> int:
    """Begin a scrub of all files, or continue the one that is paused.

    It works in the background within the limits of the policy's mover, and continues after a
    remount. Exit code 7: there are files with bytes that no copy has right.
    """
    record = ask(mounted, "scrub start")
    with progress_bar("{task.percentage:.0f} %") as bar:
        task = bar.add_task("scrubbing", total=1.0, done="") if wait else None
        while task is not None and record["state"] == "running":
            bar.update(task, completed=record["done"], done=f"{record['files']:,} files")
            time.sleep(POLL_S)
            record = ask(mounted, "scrub status")
    return _show(record, as_json=as_json)


@click.command(
    cls=Command, epilog=PAUSE_EXAMPLES, name="pause", short_help="Let a scrub rest until `start`."
)
@MOUNTED
@AS_JSON
@may_be_quiet
def pause(mounted: Path, *, as_json: bool) -> int:
    """Let the scrub rest until `tierfs scrub start`, also over remounts."""
    return _show(ask(mounted, "scrub pause"), as_json=as_json)


@click.command(
    cls=Command,
    epilog=STATUS_EXAMPLES,
    name="status",
    short_help="Show how far the scrub is, and what it found.",
)
@MOUNTED
@AS_JSON
def status(mounted: Path, *, as_json: bool) -> int:
    """Show how far the scrub is, since when all files are verified, and which have lost bytes.

    Exit code 7: there are files with bytes that no copy has right.
    """
    return _show(ask(mounted, "scrub status"), as_json=as_json)


def _show(record: dict[str, Any], *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        for line in aligned(facts(record)):
            click.echo(printable(line))
        for line in _lost(record):
            click.echo(printable(line), err=True)
    return ExitCode.DAMAGE if record["lost_files"] else ExitCode.OK


def facts(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """How far the scrub is, name and value."""
    found = f"{record['healed']:,} copies healed, {record['lost']:,} files with lost bytes"
    read = f"{record['files']:,} files verified, {format_size(record['bytes'])} read"
    rows: list[tuple[str, ...]] = [
        ("scrub", _state(record)),
        ("verified since", _moment(record["verified_since"]) or "never all of them"),
        ("this time" if record["state"] != "idle" else "the last time", f"{read}; {found}"),
    ]
    if record["skipped"]:
        rows.append(("skipped", f"{record['skipped']:,} files, which change or cannot be read"))
    if record["next"]:
        rows.append(("next", _moment(record["next"]) or ""))
    return rows


def _state(record: dict[str, Any]) -> str:
    if record["state"] == "idle":
        return "none under way"
    began = _moment(record["began"])
    return f"{record['state']}, {record['done']:.0%} done, begun {began}"


def _lost(record: dict[str, Any]) -> list[str]:
    if not record["lost_files"]:
        return []
    shown = record["lost_paths"][:TOLD]
    files = counted(record["lost_files"], "file has", "files have")
    more = record["lost_files"] - len(shown)
    return [
        "",
        f"{files} bytes that no copy has right; reading them gives EIO:",
        *(f"  {path}" for path in shown),
        *([f"  and {more:,} more"] if more else []),
        "Restore them from a backup, or delete them; what there is lies in lost+found.",
    ]


def _moment(seconds: float | None) -> str | None:
    """A time since the epoch as local time."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
