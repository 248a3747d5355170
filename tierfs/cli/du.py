"""``tierfs du``: what directories have on each tier."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.messages import aligned
from tierfs.common.errors import NotMounted, UsageError
from tierfs.common.text import printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above

SECONDS: Final = 3600.0
"""The longest wait: ten million inodes take less than a minute."""

HEADINGS: Final = ("path", "files", "size", "on flash", "mirrored", "on disk")

EXAMPLES = """
tierfs du /mnt/images
tierfs du --depth 0 /mnt/images/train
tierfs du --json /mnt/images | jq '.directories[] | {path, flash}'
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="du", short_help="Show what directories have on each tier."
)
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@click.option(
    "-d",
    "--depth",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="How many levels below DIRECTORY to show.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(directory: Path, *, depth: int, as_json: bool) -> None:
    """Show how many files and bytes are in and below DIRECTORY, by tier, the largest first.

    The daemon reads its index in a process at idle priority, and no directory: a tree of millions
    of files takes seconds. A file with several names counts once. Only root, and the group that
    the volume file names, may ask.
    """
    top = directory.resolve()
    try:
        status = top.stat()
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}") from error
    mount = mount_above(top)
    if mount is None or not mount.is_tierfs:
        raise NotMounted(f"{directory} is not in a tierfs mount")
    if not top.is_dir():
        raise UsageError(f"{directory} is not a directory; for files there is: tierfs where")
    found = ask(mount.path, "du", seconds=SECONDS, directory=status.st_ino, depth=depth)
    for one in found["directories"]:
        one["path"] = os.fspath(mount.path / one["path"].lstrip("/"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in aligned([HEADINGS, *map(_row, found["directories"])], numbers=len(HEADINGS) - 1):
        click.echo(line)


def _row(usage: dict[str, Any]) -> tuple[str, ...]:
    sizes = (format_size(usage[key]) for key in ("size", "flash", "mirrored", "disk"))
    return (printable(usage["path"]), f"{usage['files']:,}", *sizes)
