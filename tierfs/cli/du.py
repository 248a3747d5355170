"""``tierfs du``: what directories, owners or rules have on each tier."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.messages import aligned
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import NotMounted, UsageError, printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above

SECONDS: Final = 3600.0
"""The longest wait: ten million inodes take less than a minute."""

HEADINGS: Final = ("path", "files", "size", "on flash", "mirrored", "on disk")

EXAMPLES = """
tierfs du /mnt/images
tierfs du --depth 0 /mnt/images/train
tierfs du --by owner /mnt/images
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
@click.option(
    "--by",
    type=click.Choice(("directory", "owner", "rule")),
    default="directory",
    show_default=True,
    help="What to sum up by; owners and rules of the tier policy for the whole mount.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(directory: Path, *, depth: int, by: str, as_json: bool) -> None:
    """Show how many files and bytes are in and below DIRECTORY, by tier, the largest first.

    The daemon reads its index, in a process at the lowest priority, and no directory: a tree of
    millions of files takes seconds. A file with several names counts once. Only root, and the group
    that the volume file names, may ask.
    """
    top = Path(os.path.realpath(directory))  # Path.resolve() raises RuntimeError for a loop
    try:
        status = top.stat()
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}") from error
    mount = mount_above(top)
    if mount is None or not mount.is_tierfs:
        raise NotMounted(f"{directory} is not in a tierfs mount")
    if not top.is_dir():
        raise UsageError(f"{directory} is not a directory; for files there is: tierfs where")
    if by != "directory":
        if top != mount.path:
            raise UsageError(f"--by {by} counts a whole mount: tierfs du --by {by} {mount.path}")
        with waiting_for("reading the index"):
            if by == "rule":
                rows = ask(mount.path, "rules", seconds=SECONDS)["rules"]
            else:
                owners = sum_up(ask(mount.path, "sizes", seconds=SECONDS)["classes"], "uid")
                rows = [{"owner": user_name(uid), "uid": uid, **owners[uid]} for uid in owners]
                rows.sort(key=lambda one: (-one["flash"], one["uid"]))
        _show(by, rows, as_json=as_json)
        return
    with waiting_for("reading the index"):
        found = ask(mount.path, "du", seconds=SECONDS, directory=status.st_ino, depth=depth)
    for one in found["directories"]:
        one["path"] = os.fspath(mount.path / one["path"].lstrip("/"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in aligned([HEADINGS, *map(_row, found["directories"])], numbers=len(HEADINGS) - 1):
        click.echo(line)


def _show(by: str, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({f"{by}s": rows}, indent=2))
        return
    table: list[tuple[str, ...]] = [(by, "files", "size", "on flash", "on disk")]
    for one in rows:
        sizes = one["size"], one["flash"], one["size"] - one["flash"]
        name = one[by] if one[by] is not None else "(the defaults)"
        table.append((printable(name), f"{one['files']:,}", *map(format_size, sizes)))
    for line in aligned(table, numbers=4):
        click.echo(line)


def sum_up(classes: Iterable[Mapping[str, Any]], key: str) -> dict[int, dict[str, int]]:
    """Files and bytes of size classes by their owner (``uid``) or size (``up_to``)."""
    sums: dict[int, dict[str, int]] = {}
    for one in classes:
        into = sums.setdefault(one[key], {"files": 0, "size": 0, "flash": 0})
        for name in into:
            into[name] += one[name]
    return sums


def user_name(uid: int) -> str:
    """The name of a user, or the number where the machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _row(usage: dict[str, Any]) -> tuple[str, ...]:
    sizes = (format_size(usage[key]) for key in ("size", "flash", "mirrored", "disk"))
    return (printable(usage["path"]), f"{usage['files']:,}", *sizes)
