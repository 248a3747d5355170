"""``tierfs backup``: a backup of the index now, mounted or not, and a list of those there are."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tierfs.backup.files import Backup, backups, chain_from, directory_of
from tierfs.backup.making import back_up
from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import aligned
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ExitCode, VolumeBusy, printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.policy.volume_file import VolumeFile, load_volume_file

EXAMPLES = """
tierfs backup /etc/tierfs/images.yaml
tierfs backup --list /etc/tierfs/images.yaml
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="backup", short_help="Back up the index of a volume now."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.option("--list", "listing", is_flag=True, help="Show the backups that there are, make none.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@may_be_quiet
def command(volume_file: Path, *, listing: bool, as_json: bool) -> int:
    """Back up the index of the volume of VOLUME.yaml, mounted or not.

    The index has every name, attribute and extended attribute, and says where the bytes are; the
    bytes themselves are not backed up. A mounted volume makes backups by itself, every hour unless
    the volume file says otherwise, and copies what was changed since the last one.
    """
    settings = load_volume_file(volume_file)
    if listing:
        rows = _listed(settings)
        click.echo(json.dumps({"backups": rows}, indent=2) if as_json else "\n".join(_table(rows)))
        return ExitCode.OK
    try:
        with waiting_for("backing up the index"):
            made = back_up(settings)
    except VolumeBusy:
        with waiting_for("the daemon backs up the index"):
            record = ask(volume_file, "backup")
    else:
        record = {
            "path": str(made.path),
            "serial": made.state.serial,
            "generation": made.state.generation,
            "index_bytes": made.index_bytes,
            "backup_bytes": made.backup_bytes,
        }
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        sizes = format_size(record["index_bytes"]), format_size(record["backup_bytes"])
        click.echo(f"{printable(record['path'])}: the index of {sizes[0]}, in {sizes[1]}, verified")
    return ExitCode.OK


def _listed(settings: VolumeFile) -> list[dict[str, Any]]:
    """The backups, the newest first; of each how far the copied changes lead on."""
    try:
        found = backups(directory_of(settings))
    except FileNotFoundError:
        found = []
    return [_record(each) for each in reversed(found)]


def _record(backup: Backup) -> dict[str, Any]:
    chain = chain_from(backup.path.parent, backup.path)
    return {
        "path": str(backup.path),
        "made": _time(backup.made),
        "changes_until": _time(chain.made),
        "bytes": backup.bytes,
    }


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().isoformat(" ", "seconds")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["There is no backup yet."]
    heads = ("made", "changes until", "path", "size")
    table = [
        (row["made"], row["changes_until"], printable(row["path"]), format_size(row["bytes"]))
        for row in rows
    ]
    return aligned([heads, *table], numbers=1)
