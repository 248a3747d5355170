"""``tierfs adopt``: an existing tree becomes part of a volume, without moving its bytes."""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.messages import counted
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ExitCode, NotMounted, UsageError
from tierfs.common.metrics import Metrics
from tierfs.common.text import printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above
from tierfs.fs.adoption import Outcome, Step
from tierfs.fs.volume import Volume, open_volume
from tierfs.policy.volume_file import load_volume_file
from tierfs.transfer.adopt import JOBS, Forecast, Port, Report, Walk

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

    A run that was interrupted goes on where it ended. What is in PATH already stays.
    """
    began = time.monotonic()
    if refresh:
        (path,) = _require(paths, 1, 1)
        return _refresh(path, volume_file, as_json=as_json)
    tree, *rest = _require(paths, 1 if volume_file else 2, 2)
    target = rest[0] if rest else Path("/")
    take = how == "take"
    with _place(target, volume_file) as place:
        walk = Walk(tree, exclude=exclude, own=place.own, jobs=jobs)
        _check(walk.tree, place)
        if dry_run:
            forecast = walk.forecast(place.disk)
            lines = json.dumps(_forecast_record(forecast), indent=2) if as_json else None
            click.echo(lines or "\n".join(_forecast_lines(forecast, take=take)))
            return ExitCode.OK
        port = place.port(walk.tree, take=take, heads=heads == "now")
        with _bar() as watch:
            report = walk.adopt(port, take=take, watch=watch)
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(record(report, seconds), indent=2))
    else:
        click.echo("\n".join(summary(report, seconds)))
    return ExitCode.UNEXPECTED if report.errors else ExitCode.OK


def _require(paths: tuple[Path, ...], least: int, most: int) -> tuple[Path, ...]:
    if not least <= len(paths) <= most:
        wanted = "PATH" if most == 1 else "TREE and PATH"
        raise UsageError(f"this needs {wanted}: see tierfs adopt --help")
    return paths


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
        self.mountpoint = mountpoint
        inside = path.relative_to(mountpoint)
        self.path = "" if inside == Path() else os.fspath(inside)
        status = ask(mountpoint, "status", seconds=5.0, wait=0.0)
        tiers = status["tiers"]
        self.disk = Path(tiers["disk"]["directory"])
        self.own = _identities(mountpoint, self.disk, Path(tiers["flash"]["directory"]))

    def port(self, tree: Path, *, take: bool, heads: bool) -> Port:
        return _Remote(self.mountpoint, tree, self.path, take=take, heads=heads)


class _Remote:
    """A port through the control socket."""

    def __init__(
        self, mountpoint: Path, tree: Path, target: str, *, take: bool, heads: bool
    ) -> None:
        self._mountpoint = mountpoint
        self._tree, self._target = os.fspath(tree), target
        self._take, self._heads = take, heads

    def adopt(self, steps: Sequence[Step]) -> Outcome:
        """See ``Port``."""
        told = [[os.fsdecode(path), [os.fsdecode(name) for name in names]] for path, names in steps]
        said = ask(
            self._mountpoint,
            "adopt",
            tree=self._tree,
            target=self._target,
            steps=told,
            take=self._take,
            heads=self._heads,
        )
        problems = [(os.fsencode(path), why) for path, why in said.pop("problems")]
        return Outcome(**said, problems=problems)

    def settle(self) -> None:
        """See ``Port``."""
        ask(self._mountpoint, "adopt settle")


class _Unmounted(_Place):
    """A directory of a volume that nobody has open; this process does the work."""

    def __init__(self, volume: Volume, path: Path) -> None:
        settings = volume.settings
        self.volume = volume
        self.path = os.fspath(path)
        self.disk = settings.disk
        self.own = _identities(settings.disk, settings.flash)

    def port(self, tree: Path, *, take: bool, heads: bool) -> Port:
        return _Local(self.volume, tree, self.path, take=take, heads=heads)


class _Local:
    """A port to an open volume."""

    def __init__(self, volume: Volume, tree: Path, target: str, *, take: bool, heads: bool) -> None:
        self._volume = volume
        self._tree, self._target = os.fsencode(tree), os.fsencode(target)
        self._take, self._heads = take, heads

    def adopt(self, steps: Sequence[Step]) -> Outcome:
        """See ``Port``."""
        outcome = self._volume.fs.adoption.run(
            self._tree, self._target, steps, take=self._take, heads=self._heads
        )
        if self._volume.checkpoints.is_due():
            self._volume.checkpoints.make()
        return outcome

    def settle(self) -> None:
        """See ``Port``."""
        self._volume.fs.adoption.settle()


@contextmanager
def _place(path: Path, volume_file: Path | None) -> Iterator[_Mounted | _Unmounted]:
    if volume_file is None:
        path = path.resolve()
        mount = mount_above(path)
        if mount is None or not mount.is_tierfs:
            raise NotMounted(
                f"{printable(str(path))} is not in a tierfs mount; name a volume that is not "
                "mounted with --volume"
            )
        yield _Mounted(Path(mount.path), path)
        return
    volume = open_volume(load_volume_file(volume_file), metrics=Metrics())
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
            said = ask(place.mountpoint, "adopt refresh", path=place.path, after=after)
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


@contextmanager
def _bar() -> Iterator[Any]:
    """A progress bar on standard error if that is a terminal."""
    with progress_bar("{task.completed:,.0f} files") as progress:
        task = progress.add_task("adopting", total=None, done="")

        def watch(report: Report) -> None:
            copied = f"{format_size(report.copied_bytes)} copied" if report.copied else ""
            progress.update(task, completed=report.done, done=copied)

        yield watch


def record(report: Report, seconds: float) -> dict[str, Any]:
    """The figures for JSON."""
    return {
        "seconds": round(seconds, 3),
        "linked": report.linked,
        "copied": report.copied,
        "copied_bytes": report.copied_bytes,
        "present": report.present,
        "links": report.links,
        "others": report.others,
        "directories": report.directories,
        "excluded": report.excluded,
        "errors": report.errors,
        "problems": [
            {"path": os.fsdecode(path), "reason": reason} for path, reason in report.problems
        ],
    }


def summary(report: Report, seconds: float) -> list[str]:
    """The figures for people."""
    what = [
        counted(report.linked, "file", "files"),
        counted(report.directories, "directory", "directories"),
    ]
    if report.links:
        what.append(counted(report.links, "hard link", "hard links"))
    if report.others:
        what.append(f"{report.others:,} links, special and empty files")
    lines = [f"adopted {', '.join(what)} in {seconds:.1f} s"]
    if report.copied:
        size = format_size(report.copied_bytes)
        lines.append(f"{counted(report.copied, 'file', 'files')} copied ({size})")
    if report.present:
        lines.append(f"{counted(report.present, 'was', 'were')} there already")
    if report.excluded:
        lines.append(f"{counted(report.excluded, 'name', 'names')} left out by --exclude")
    if report.errors:
        lines.append(f"left out, or not with all that belongs to it: {report.errors:,}")
        lines += [f"  {printable(path)}: {reason}" for path, reason in report.problems]
        if (more := report.errors - len(report.problems)) > 0:
            lines.append(f"  and {more:,} more")
    return lines


def _forecast_record(forecast: Forecast) -> dict[str, Any]:
    return {
        "linked": forecast.linked,
        "linked_bytes": forecast.linked_bytes,
        "largest": forecast.largest,
        "copied": forecast.copied,
        "copied_bytes": forecast.copied_bytes,
        "others": forecast.others,
        "directories": forecast.directories,
        "excluded": forecast.excluded,
        "reflinks": forecast.reflinks,
    }


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
    lines.append("empty then: recommended here, unless its owners go on using it")
    return lines
