"""``tierfs export``: a plain tree out of a mount, or out of a volume that is not mounted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.trees import required, show, watched
from tierfs.common.errors import NotMounted, TierfsError, UsageError, VolumeEnded, printable
from tierfs.common.metrics import Metrics
from tierfs.common.tree_report import Report
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import mount_above
from tierfs.fs.volume import OBJECTS, open_volume, remove_ended
from tierfs.policy.volume_file import load_volume_file
from tierfs.transfer.copying import DiskObjects
from tierfs.transfer.export import JOBS, Export
from tierfs.transfer.from_volume import VolumeExport

EXAMPLES = """
tierfs export /mnt/images /raid/images-plain
tierfs export --jobs 16 /mnt/images/train /backup/train
tierfs export --json /mnt/images /backup/images | jq .problems
tierfs export --volume images.yaml --give-up /raid/images-plain
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="export", short_help="Copy a tree out, with all attributes."
)
@click.argument("paths", metavar="[PATH] TARGET", type=PATH, nargs=-1)
@click.option(
    "--volume",
    "volume_file",
    metavar="VOLUME.yaml",
    type=PATH,
    help="A volume that is not mounted; PATH is then one in it, from its root on.",
)
@click.option(
    "--give-up",
    is_flag=True,
    help="End the volume: its files move to TARGET, without a copy on the disk's filesystem.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Files copied at a time.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@may_be_quiet
def command(
    paths: tuple[Path, ...], *, volume_file: Path | None, give_up: bool, jobs: int, as_json: bool
) -> int:
    """Copy PATH, a directory of a mount, to the directory TARGET, which any program can then read.

    Names, bytes, holes, owners, modes, times, hard links, extended attributes, ACLs and special
    files are copied. Files share blocks with the disk tier where both are on one filesystem with
    reflinks (XFS, btrfs). A run that was interrupted continues where it ended: what is in TARGET
    with the size and the time of its source is not copied again, and what else is in TARGET stays.

    With --give-up all of a volume that is not mounted goes to TARGET. On the filesystem of the disk
    directory files are not copied but get other names. If all went well the volume has ended, and
    cannot be mounted any more. Before that it stays as it is, however the run ends.
    """
    began = time.monotonic()
    if volume_file is not None:
        *rest, target = required(paths, 1, 1 if give_up else 2, "TARGET")
        path = rest[0] if rest else Path("/")
        return _from_volume(volume_file, path, target, began, give_up=give_up, as_json=as_json)
    if give_up:
        raise UsageError("--give-up is for a volume that is not mounted: name it with --volume")
    path, target = required(paths, 2, 2, "PATH and TARGET")
    mount = mount_above(path.absolute())
    if mount is None or not mount.is_tierfs:
        raise NotMounted(f"{printable(str(path))} is not in a tierfs mount")
    with _objects(Path(mount.path)) as objects, watched("exporting") as watch:
        report = Export(objects, watch, jobs).run(path, target)
    return show(report, "exported", began, as_json=as_json)


def _from_volume(
    volume_file: Path, path: Path, target: Path, began: float, *, give_up: bool, as_json: bool
) -> int:
    settings = load_volume_file(volume_file)
    try:
        volume = open_volume(settings, metrics=Metrics(), read_only=not give_up)
    except VolumeEnded:
        if not give_up:
            raise
        remove_ended(
            settings, Path(os.path.realpath(target))
        )  # an earlier run was ended before that
        return show(Report(), "exported", began, as_json=as_json)
    try:
        with watched("exporting") as watch:
            report = VolumeExport(volume, give_up=give_up, watch=watch).run(
                os.fsencode(path), target
            )
    finally:
        volume.close()
    if give_up and not report.errors:
        remove_ended(settings, Path(os.path.realpath(target)))
    return show(report, "exported", began, as_json=as_json)


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
