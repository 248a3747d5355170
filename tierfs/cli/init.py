"""``tierfs init`` and ``new-uuid``: make a volume, and give a copy a UUID of its own."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from tierfs.cli.command import FILE, PATH, Command, SizeType, may_be_quiet
from tierfs.common.errors import ConfigError, UsageError, printable
from tierfs.common.units import GIB
from tierfs.fs.identity import give_new_uuid
from tierfs.fs.volume import format_volume
from tierfs.policy.volume_file import HEAD_STEP, VolumeFile, load_volume_file
from tierfs.policy.volume_template import render_volume_file


class HeadType(SizeType):
    """The length of the heads: a size with a unit, in bytes."""

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``64KiB`` as 65536; click shows what is wrong with a bad one."""
        size = super().convert(value, param, ctx)
        if size % HEAD_STEP or not HEAD_STEP <= size <= GIB:
            self.fail(f'"{value}" is not a multiple of 4KiB from 4KiB to 1GiB', param, ctx)
        return size


TIER: Final = click.Path(file_okay=False, path_type=Path)

EXAMPLES = """
tierfs init /etc/tierfs/images.yaml --flash /nvme/images --disk /raid/images
tierfs init images.yaml --flash /nvme/images --disk /raid/images --json | jq -r .uuid
"""
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command(
    cls=Command, epilog=EXAMPLES, name="init", short_help="Make a volume of two empty directories."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=FILE)
@click.option("--flash", required=True, type=TIER, help="Empty directory for the heads.")
@click.option("--disk", required=True, type=TIER, help="Empty directory for the rest.")
@click.option(
    "--head",
    type=HeadType(),
    default="64KiB",
    show_default=True,
    help="Length of the head of each file, which is on flash: 4KiB to 1GiB, a multiple of 4KiB.",
)
@click.option(
    "--index", type=FILE, help="The SQLite index.  [default: index.db in the flash directory]"
)
@AS_JSON
@may_be_quiet
def command(
    volume_file: Path, flash: Path, disk: Path, head: int, index: Path | None, *, as_json: bool
) -> None:
    """Make a volume of two empty directories, and write VOLUME.yaml, which describes it."""
    _require_apart(volume_file, (flash, disk))
    text = render_volume_file(
        flash=flash.absolute(),
        disk=disk.absolute(),
        head=head,
        index=index.absolute() if index else None,
    )
    _write_new(volume_file, text)
    try:
        uuid = format_volume(_settings(Path(os.path.realpath(volume_file))))
    except BaseException:
        with suppress(OSError):
            volume_file.unlink()
        raise
    if as_json:
        click.echo(json.dumps({"volume": os.fspath(volume_file.absolute()), "uuid": str(uuid)}))
    else:
        told = f"mount it: tierfs mount {printable(volume_file)} DIRECTORY"
        click.echo(f"Volume {uuid} is ready; {told}")


def _require_apart(volume_file: Path, tiers: tuple[Path, ...]) -> None:
    real = Path(os.path.realpath(volume_file))  # Path.resolve() raises RuntimeError for a loop
    for tier in tiers:
        if real.is_relative_to(os.path.realpath(tier)):
            raise UsageError(f"{volume_file} would lie in {tier}, which must be empty; move it out")


def _settings(path: Path) -> VolumeFile:
    """Load the new volume file; a mistake in it comes from the command line, so it has no line."""
    try:
        return load_volume_file(path)
    except ConfigError as error:
        place = re.compile(rf"^{re.escape(str(path))}:\d+:\d+: ", re.MULTILINE)
        raise UsageError(place.sub("", str(error))) from error


def _write_new(path: Path, text: str) -> None:
    try:
        # Whatever the umask: root mounts no volume whose file others can write to.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; choose another name or delete it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


# ------------------------------------------------------------------ new-uuid

NEW_UUID_EXAMPLES = """
tierfs umount /mnt/images
cp -a /nvme/images /nvme/copy; cp -a --sparse=always /raid/images /raid/copy
sed 's|/images|/copy|' /etc/tierfs/images.yaml > /etc/tierfs/copy.yaml
tierfs new-uuid /etc/tierfs/copy.yaml
"""


@click.command(
    cls=Command,
    epilog=NEW_UUID_EXAMPLES,
    name="new-uuid",
    short_help="Give a copied volume a UUID of its own.",
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@AS_JSON
@may_be_quiet
def new_uuid(volume_file: Path, *, as_json: bool) -> None:
    """Give the volume of VOLUME.yaml, which must not be mounted, a new UUID.

    A copy has the UUID of its original, and cannot be mounted at the same time: control socket, log
    and statistics are named by the UUID. Copy a volume only while it is not mounted.
    """
    uuid = give_new_uuid(load_volume_file(volume_file))
    if as_json:
        click.echo(json.dumps({"volume": os.fspath(volume_file.absolute()), "uuid": str(uuid)}))
    else:
        click.echo(f"{printable(volume_file)}: the UUID of the volume is now {uuid}")
