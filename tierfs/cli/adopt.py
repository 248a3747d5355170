"""``tierfs adopt``: an existing tree becomes part of a volume, without moving its bytes."""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import counted
from tierfs.cli.trees import required, show, watched
from tierfs.common.errors import ExitCode, NotMounted, UsageError, printable
from tierfs.common.tree_report import Report, Step
from tierfs.common.units import format_size
from tierfs.daemon.control_client import Daemon
from tierfs.daemon.mountinfo import mount_above
from tierfs.transfer.adopt import JOBS, Forecast, Port, Walk

if TYPE_CHECKING:
    from tierfs.transfer.into_volume import OpenVolume

EXAMPLES = """
tierfs adopt --dry-run /raid/images /mnt/images
tierfs adopt /raid/images /mnt/images
tierfs adopt --take --heads now --exclude '*.tmp' /raid/images /mnt/images/2026
tierfs adopt --volume images.yaml /raid/images
tierfs adopt --refresh /mnt/images/2026
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="adopt",
    short_help="Make an existing tree part of a volume, without moving it.",
)
@click.argument("paths", metavar="[TREE] [PATH]", type=PATH, nargs=-1)
@click.option("--keep", "how", flag_value="keep", help="The tree stays as it is; the default.")
@click.option("--take", "how", flag_value="take", help="The tree is emptied into the volume.")
@click.option(
    "--volume",
    "volume_file",
    metavar="VOLUME.yaml",
    type=PATH,
    help="A volume that is not mounted; PATH is then one in it, from its root on.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out what matches: a name, or with a slash a path from TREE on. May be repeated.",
)
@click.option(
    "--heads",
    type=click.Choice(["now", "later"]),
    default="later",
    show_default=True,
    help="When the first bytes of files come to flash: at once, or after they were read.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Directories looked at ahead.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and what it costs.")
@click.option(
    "--refresh", is_flag=True, help="Take originals below PATH as their owners have changed them."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@may_be_quiet
def command(
    paths: tuple[Path, ...],
    *,
    how: str | None,
    volume_file: Path | None,
    exclude: tuple[str, ...],
    heads: str,
    jobs: int,
    dry_run: bool,
    refresh: bool,
    as_json: bool,
) -> int:
    """Put what is in the directory TREE into the directory PATH of a mount.

    On the filesystem of the disk directory no byte is copied: each file gets a second name, that of
    a disk object. TREE can be used as before. tierfs never changes such a file: before the first
    change through the mount, the file gets its own bytes. With --take the files lose their names in
    TREE, so that the volume alone has them. Files of other filesystems are copied.

    A run that was interrupted continues where it ended. What is in PATH already stays.
    """
    began = time.monotonic()
    if refresh:
        (path,) = required(paths, 1, 1, "PATH")
        return _refresh(path, volume_file, as_json=as_json)
    tree, *rest = required(paths, 1 if volume_file else 2, 2, "TREE and PATH")
    target = rest[0] if rest else Path("/")
    take = how == "take"
    with _place(target, volume_file) as place:
        walk = Walk(tree, exclude=exclude, own=place.own, jobs=jobs)
        _check(walk.tree, place)
        if dry_run:
            forecast = walk.forecast(place.disk)
            lines = json.dumps(asdict(forecast), indent=2) if as_json else None
            click.echo(lines or "\n".join(_forecast_lines(forecast, take=take)))
            return ExitCode.OK
        port = place.port(walk.tree, take=take, heads=heads == "now")
        with watched("adopting") as watch:
            report = walk.adopt(port, take=take, watch=watch)
    return show(report, "adopted", began, as_json=as_json)


# ------------------------------------------------------------------ mounted, or not


class _Place(ABC):
    """Where the tree goes."""

    own: frozenset[tuple[int, int]]
    """The directories that the volume consists of, and its mountpoint."""
    disk: Path

    @abstractmethod
    def port(self, tree: Path, *, take: bool, heads: bool) -> Port:
        """What does it."""


class _Mounted(_Place):
    """A directory of a mount; its daemon does the work."""

    def __init__(self, mountpoint: Path, path: Path) -> None:
        self.daemon = Daemon(mountpoint)
        inside = path.relative_to(mountpoint)
        self.path = "" if inside == Path() else os.fspath(inside)
        status = self.daemon.ask("status", seconds=5.0, wait=0.0)
        tiers = status["tiers"]
        self.disk = Path(tiers["disk"]["directory"])
        self.own = _identities(mountpoint, self.disk, Path(tiers["flash"]["directory"]))

    def port(self, tree: Path, *, take: bool, heads: bool) -> Port:
        return _Remote(self.daemon, tree, self.path, take=take, heads=heads)


class _Remote:
    """A port through the control socket."""

    def __init__(self, daemon: Daemon, tree: Path, target: str, *, take: bool, heads: bool) -> None:
        self._daemon = daemon
        self._tree, self._target = os.fspath(tree), target
        self._take, self._heads = take, heads

    def adopt(self, steps: Sequence[Step]) -> Report:
        """See ``Port``."""
        told = [
            [os.fsdecode(path), list(map(os.fsdecode, files)), list(map(os.fsdecode, others))]
            for path, files, others in steps
        ]
        said = self._daemon.ask(
            "adopt",
            tree=self._tree,
            target=self._target,
            steps=told,
            take=self._take,
            heads=self._heads,
        )
        return Report.of_record(said)

    def settle(self) -> None:
        """See ``Port``."""
        self._daemon.ask("adopt settle")


class _Unmounted(_Place):
    """A directory of a volume that nobody has open; this process does the work."""

    def __init__(self, volume: OpenVolume, path: Path) -> None:
        self.volume = volume
        self.path = os.fspath(path)
        self.disk = volume.settings.disk
        self.own = _identities(self.disk, volume.settings.flash)

    def port(self, tree: Path, *, take: bool, heads: bool) -> Port:
        return self.volume.port(tree, self.path, take=take, heads=heads)


@contextmanager
def _place(path: Path, volume_file: Path | None) -> Iterator[_Mounted | _Unmounted]:
    if volume_file is None:
        path = Path(os.path.realpath(path))
        mount = mount_above(path)
        if mount is None or not mount.is_tierfs:
            raise NotMounted(
                f"{printable(str(path))} is not in a tierfs mount; name a volume that is not "
                "mounted with --volume"
            )
        yield _Mounted(Path(mount.path), path)
        return
    # Loading it takes as long as adopting twenty thousand files, and a mount needs none of it.
    from tierfs.transfer.into_volume import OpenVolume  # noqa: PLC0415

    volume = OpenVolume(volume_file)
    try:
        yield _Unmounted(volume, path)
    finally:
        volume.close()


def _identities(*directories: Path) -> frozenset[tuple[int, int]]:
    found = set()
    for directory in directories:
        with suppress(OSError):
            status = directory.stat()
            found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def _check(tree: Path, place: _Place) -> None:
    """Refuse a tree that is the volume, or in it."""
    for above in (tree, *tree.parents):
        status = above.stat()
        if (status.st_dev, status.st_ino) in place.own:
            raise UsageError(f"{tree} is in {above}, which is the volume's own")


def _refresh(path: Path, volume_file: Path | None, *, as_json: bool) -> int:
    if volume_file is not None:
        raise UsageError("--refresh is for a mount: its path says which")
    refreshed: list[str] = []
    with _place(path, None) as place:
        after: int | None = 0
        while after is not None and isinstance(place, _Mounted):
            said = place.daemon.ask("adopt refresh", path=place.path, after=after)
            refreshed += said["refreshed"]
            after = said["next"]
    if as_json:
        click.echo(json.dumps({"refreshed": refreshed}, indent=2))
    else:
        click.echo(f"{counted(len(refreshed), 'file', 'files')} had changed")
        for name in refreshed:
            click.echo(f"  {printable(name)}")
    return ExitCode.OK


# ------------------------------------------------------------------ what is shown


def _forecast_lines(forecast: Forecast, *, take: bool) -> list[str]:
    linked = counted(forecast.linked, "file", "files")
    size = format_size(forecast.linked_bytes)
    below = counted(forecast.directories, "directory", "directories")
    lines = [f"{linked} ({size}) would be adopted without a copy, in {below}"]
    if forecast.copied:
        copied = counted(forecast.copied, "file", "files")
        size = format_size(forecast.copied_bytes)
        lines.append(f"{copied} ({size}) of other filesystems would be copied")
    if forecast.excluded:
        lines.append(f"{counted(forecast.excluded, 'name', 'names')} would be left out")
    if not forecast.linked or take:
        return lines
    if forecast.reflinks:
        lines.append("a later change of a file copies nothing: its blocks are shared (reflink)")
        return lines
    largest = format_size(forecast.largest)
    lines.append("the disk directory's filesystem has no reflinks: the first change of a file")
    lines.append(
        f"copies it, {largest} at most; with --take nothing is ever copied, and the tree is"
    )
    lines.append("empty then: recommended here, unless its owners continue to use it")
    return lines
