"""``tierfs export``: a plain tree out of a mount."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.messages import counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode, NotMounted, TierfsError
from tierfs.common.text import printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above
from tierfs.fs.volume import OBJECTS
from tierfs.transfer.copying import DiskObjects
from tierfs.transfer.export import JOBS, Export, Report

EXAMPLES = """
tierfs export /mnt/images /raid/images-plain
tierfs export --jobs 16 /mnt/images/train /backup/train
tierfs export --json /mnt/images /backup/images | jq .problems
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="export", short_help="Copy a tree out, with all attributes."
)
@click.argument("path", metavar="PATH", type=PATH)
@click.argument("target", metavar="TARGET", type=PATH)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Files copied at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(path: Path, target: Path, *, jobs: int, as_json: bool) -> int:
    """Copy PATH, a directory of a mount, to the directory TARGET, which any program can then read.

    Names, bytes, holes, owners, modes, times, hard links, extended attributes, ACLs and special
    files are copied. Files share blocks with the disk tier where both are on one filesystem with
    reflinks (XFS, btrfs). A run that was interrupted goes on where it ended: what is in TARGET with
    the size and the time of its source is not copied again, and what else is in TARGET stays.
    """
    mount = mount_above(path.absolute())
    if mount is None or not mount.is_tierfs:
        raise NotMounted(f"{printable(str(path))} is not in a tierfs mount")
    began = time.monotonic()
    with _objects(Path(mount.path)) as objects, _bar() as watch:
        report = Export(objects, watch, jobs).run(path, target)
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(record(report, seconds), indent=2))
    else:
        click.echo("\n".join(summary(report, seconds)))
    return ExitCode.UNEXPECTED if report.errors else ExitCode.OK


@contextmanager
def _objects(mountpoint: Path) -> Iterator[DiskObjects | None]:
    """The disk tier's objects, for who may read them; everybody else copies."""
    objects = None
    with suppress(TierfsError, OSError):
        status = ask(mountpoint, "status", seconds=5.0, wait=0.0)
        objects = DiskObjects(Path(status["tiers"]["disk"]["directory"]) / OBJECTS)
    try:
        yield objects
    finally:
        if objects is not None:
            objects.close()


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on standard error if that is a terminal."""
    with progress_bar("{task.completed:,.0f} files") as progress:
        task = progress.add_task("exporting", total=None, done="")

        def watch(report: Report) -> None:
            done = report.files + report.present + report.others + report.links
            progress.update(task, completed=done, done=format_size(report.written))

        yield watch


def record(report: Report, seconds: float) -> dict[str, Any]:
    """The figures for JSON."""
    return {
        "seconds": round(seconds, 3),
        "files": report.files,
        "bytes": report.written,
        "shared_files": report.shared,
        "present": report.present,
        "links": report.links,
        "directories": report.directories,
        "others": report.others,
        "errors": report.errors,
        "problems": [
            {"path": os.fsdecode(path), "reason": reason} for path, reason in report.problems
        ],
    }


def summary(report: Report, seconds: float) -> list[str]:
    """The figures for people."""
    what = [
        f"{counted(report.files, 'file', 'files')} ({format_size(report.written)})",
        counted(report.directories, "directory", "directories"),
    ]
    if report.links:
        what.append(counted(report.links, "hard link", "hard links"))
    if report.others:
        what.append(counted(report.others, "link or special file", "links and special files"))
    lines = [f"exported {', '.join(what)} in {seconds:.1f} s"]
    if report.shared:
        lines.append(f"{counted(report.shared, 'file', 'files')} share blocks with the disk tier")
    if report.present:
        lines.append(f"{counted(report.present, 'was', 'were')} there already")
    if report.errors:
        lines.append(f"errors: {report.errors:,}")
        lines += [f"  {printable(path)}: {reason}" for path, reason in report.problems]
        if (more := report.errors - len(report.problems)) > 0:
            lines.append(f"  and {more:,} more")
    return lines
