"""``tierfs view``: directories of links to the files that an expression holds for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command, CommandGroup
from tierfs.cli.find import SECONDS, directory_of, of_files
from tierfs.cli.messages import counted
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ExitCode, TierfsError, UsageError, printable
from tierfs.common.times import system_clock
from tierfs.daemon.control_client import Daemon
from tierfs.daemon.mountinfo import Mount
from tierfs.query import view
from tierfs.query.columns import columns_of
from tierfs.query.compiling import compiled
from tierfs.query.view import Changes, Definition, Member

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "create": "tierfs.cli.view:create",
        "refresh": "tierfs.cli.view:refresh",
        "remove": "tierfs.cli.view:remove",
    }
)
TOLD: Final = 10

EXAMPLES = """
tierfs view create /mnt/images/by-label 'name = *.jpg' --by user.label
tierfs view refresh /mnt/images/by-label
tierfs view remove /mnt/images/by-label
"""
CREATE_EXAMPLES = """
tierfs view create /mnt/images/by-label 'name = *.jpg' --by user.label
tierfs view create /mnt/images/large 'image.width >= 2048' --by user.split --of /mnt/images/train
"""
REFRESH_EXAMPLES = """
tierfs view refresh /mnt/images/by-label
"""
REMOVE_EXAMPLES = """
tierfs view remove /mnt/images/by-label
"""

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(
    cls=CommandGroup,
    modules=COMMANDS,
    epilog=EXAMPLES,
    name="view",
    short_help="Make directories of links by tag, as ImageFolder reads them.",
)
def command() -> None:
    """Make directories of hard links to files for which an expression holds, one for each label."""


@click.command(cls=Command, epilog=CREATE_EXAMPLES, name="create", short_help="Make a view.")
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@click.argument("expression", metavar="EXPRESSION")
@click.option("--by", required=True, metavar="FIELD", help="The field that names the directories.")
@click.option("--of", "source", type=PATH, metavar="PATH", help="Only files in and below PATH.")
@click.option("--symlink", is_flag=True, help="Symbolic links by path instead of hard links.")
@as_json
def create(
    directory: Path,
    expression: str,
    *,
    by: str,
    source: Path | None,
    symlink: bool,
    as_json: bool,
) -> int:
    """Make DIRECTORY, which is new or empty, with a directory for each value of a field.

    In it is a hard link to each file of this value for which EXPRESSION holds. The directories have
    mode 0700. A further name changes a file's link count and ctime; the tier policy, and tierfs
    find, go on using the path that it had.
    """
    compiled(expression, system_clock())
    columns_of([by])
    mount, _ = directory_of(directory.absolute().parent)
    of, _ = (mount, 1) if source is None else directory_of(source)
    if of.path != mount.path:
        raise UsageError(f"{source} is not in the mount at {mount.path}")
    below = "/" if source is None else f"/{source.resolve().relative_to(mount.path)}"
    definition = Definition(expression, by, below.replace("/.", "/"), symlink)
    with _failures(directory):
        view.define(directory, definition)
        return _refresh(directory, mount, definition, as_json=as_json)


@click.command(
    cls=Command, epilog=REFRESH_EXAMPLES, name="refresh", short_help="Bring a view up to date."
)
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@as_json
def refresh(directory: Path, *, as_json: bool) -> int:
    """Make the links that a view lacks, and remove those that do not belong into it any more."""
    mount, _ = directory_of(directory)
    definition = view.definition_of(directory)
    with _failures(directory):
        return _refresh(directory, mount, definition, as_json=as_json)


@click.command(cls=Command, epilog=REMOVE_EXAMPLES, name="remove", short_help="Remove a view.")
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@as_json
def remove(directory: Path, *, as_json: bool) -> int:
    """Remove a view with its links; the files keep their other names."""
    directory_of(directory)
    view.definition_of(directory)
    with _failures(directory), waiting_for("removing links"):
        changes = view.remove(directory)
    return _show(changes, as_json=as_json)


def _refresh(directory: Path, mount: Mount, definition: Definition, *, as_json: bool) -> int:
    _, top = directory_of(Path(f"{mount.path}{definition.source}"))
    members: list[Member] = []

    def take(rows: list[list[Any]]) -> None:
        for path, inode, label in rows:
            if path is not None and label is not None:
                members.append(Member(path, inode, str(label)))

    with waiting_for("reading the index"):
        Daemon(mount.path).ask_for_rows(
            "find",
            take,
            seconds=SECONDS,
            expression=of_files(definition.expression),
            top=top,
            columns=["path", "inode", definition.by],
            sort="",
            descending=False,
            group_by="",
            limit=0,
            count=False,
            explain=False,
            consistent=False,
        )
    with waiting_for("making links"):
        changes = view.refresh(
            directory.resolve(), mount.path, view.names(members), symlink=definition.symlink
        )
    return _show(changes, as_json=as_json)


def _show(changes: Changes, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(asdict(changes), indent=2))
    else:
        made = counted(changes.made, "link", "links")
        click.echo(f"{made} made, {changes.kept:,} kept, {changes.removed:,} removed")
        if changes.gone:
            click.echo(f"{counted(changes.gone, 'file was', 'files were')} gone meanwhile")
    for path in changes.foreign[:TOLD]:
        click.echo(f"tierfs: {printable(path)} is no link of the view, and stays", err=True)
    return ExitCode.UNEXPECTED if changes.foreign else ExitCode.OK


@contextmanager
def _failures(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or directory
        raise TierfsError(f"{printable(str(where))}: {error.strerror or error}") from error
