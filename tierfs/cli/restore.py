"""``tierfs restore`` and ``replace-flash``: a volume whose index, or whose flash, is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tierfs.backup.replace_flash import replace_flash as replace
from tierfs.backup.restore import Listener, Report, restore
from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import TOLD, counted
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ExitCode, UsageError, printable
from tierfs.policy.volume_file import load_volume_file

EXAMPLES = """
tierfs restore /etc/tierfs/images.yaml
tierfs restore images.yaml --backup /raid/images/backup/index-5f0c9a1b-0000000000000081234.db.zst
tierfs restore --from-objects images.yaml
tierfs restore --json images.yaml | jq -r '.files[].path'
"""

_BACKUP = click.option(
    "--backup", type=PATH, metavar="FILE", help="The backup to take.  [default: the newest]"
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command(
    cls=Command, epilog=EXAMPLES, name="restore", short_help="Restore an index that is lost."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@_BACKUP
@click.option(
    "--from-objects",
    is_flag=True,
    help="Without any backup: each object becomes a file in lost+found, named by its number.",
)
@_JSON
@may_be_quiet
def command(volume_file: Path, *, backup: Path | None, from_objects: bool, as_json: bool) -> int:
    """Restore the index of the volume of VOLUME.yaml, which has none any more.

    Names, attributes and extended attributes come from the newest backup and the changes that were
    copied since. Then the index is made to agree with the objects in both directories. The first
    ten files of which bytes are missing are printed; reading these bytes gives EIO.

    Exit codes: 0: nothing is missing; 7: bytes of files are.
    """
    if backup is not None and from_objects:
        raise UsageError("--from-objects takes no backup: give one of the two")
    settings = load_volume_file(volume_file)

    def work(listener: Listener) -> Report:
        return restore(
            settings,
            backup=backup and backup.absolute(),
            from_objects=from_objects,
            listener=listener,
        )

    return told(work, as_json=as_json)


REPLACE_EXAMPLES = """
tierfs replace-flash /etc/tierfs/images.yaml /new-nvme/images
tierfs replace-flash --json images.yaml /new-nvme/images | jq -r '.files[].path'
"""


@click.command(
    cls=Command,
    epilog=REPLACE_EXAMPLES,
    name="replace-flash",
    short_help="Continue with a new flash directory in the place of a lost one.",
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@_BACKUP
@_JSON
@may_be_quiet
def replace_flash(volume_file: Path, directory: Path, *, backup: Path | None, as_json: bool) -> int:
    """Make DIRECTORY, which is empty, the flash directory of the volume of VOLUME.yaml.

    For a flash device that is lost, with all that was on it. The index is restored from its
    backups. Each mirrored file is served from disk from now on, and comes back to flash by its
    heat. The first ten files of which only flash had bytes are printed; reading these bytes gives
    EIO. At the end VOLUME.yaml names DIRECTORY.

    Exit codes: 0: nothing is missing; 7: bytes of files are.
    """
    settings = load_volume_file(volume_file)

    def work(listener: Listener) -> Report:
        chosen = backup and backup.absolute()
        return replace(settings, directory, backup=chosen, listener=listener)

    return told(work, as_json=as_json)


def told(work: Callable[[Listener], Report], *, as_json: bool) -> int:
    """Print what is missing while ``work`` finds it, then its report; returns the exit code."""
    files: list[dict[str, str]] = []
    missing = 0

    def listener(path: bytes, what: str) -> None:
        nonlocal missing
        missing += 1
        if as_json:
            files.append({"path": os.fsdecode(path), "what": what})
        elif missing <= TOLD:
            click.echo(f"tierfs: {printable(path)}: {what}", err=True)

    with waiting_for("restoring the index"):
        report = work(listener)
    if as_json:
        click.echo(json.dumps({**_record(report), "files": files}, indent=2))
    else:
        for problem in report.problems:
            click.echo(f"tierfs: {printable(problem)}", err=True)
        if missing > TOLD:
            more = f"and {missing - TOLD:,} more files; all are listed by: tierfs fsck --json"
            click.echo(f"tierfs: {more}", err=True)
        click.echo("\n".join(_summary(report)))
    return ExitCode.DAMAGE if report.missing else ExitCode.OK


def _record(report: Report) -> dict[str, Any]:
    return {
        "backup": report.backup and str(report.backup),
        "changes_until": _time(report.made),
        "changes": report.changes,
        "inodes": report.inodes,
        "placed": report.placed,
        "found": report.found,
        "missing": report.missing,
        "problems": report.problems,
    }


def _time(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().isoformat(" ", "seconds")


def _summary(report: Report) -> list[str]:
    lines = []
    if report.backup:
        changes = counted(report.changes, "change", "changes")
        lines.append(f"from {printable(report.backup)} and {changes} since")
    if report.made:
        lines.append(f"every change up to {_time(report.made)} is known")
    lines.append(f"{counted(report.inodes, 'inode', 'inodes')} restored")
    if report.placed:
        lines.append(f"{counted(report.placed, 'file', 'files')} placed as the objects show")
    if report.found:
        lines.append(f"{counted(report.found, 'file', 'files')} without a name put into lost+found")
    lines.append(
        f"bytes are missing of {counted(report.missing, 'file', 'files')}"
        if report.missing
        else "no bytes are missing"
    )
    return lines
