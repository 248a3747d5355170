"""``tierfs new-uuid``: make a copied volume one of its own."""

from __future__ import annotations

from pathlib import Path

import click

from tierfs.cli.verb import PATH, Verb
from tierfs.common.text import printable
from tierfs.fs.identity import give_new_uuid
from tierfs.policy.volume_file import load_volume_file

EXAMPLES = """
tierfs umount /mnt/images
cp -a /nvme/images /nvme/copy; cp -a --sparse=always /raid/images /raid/copy
sed 's|/images|/copy|' /etc/tierfs/images.yaml > /etc/tierfs/copy.yaml
tierfs new-uuid /etc/tierfs/copy.yaml
"""


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="new-uuid",
    short_help="Make a copied volume one of its own.",
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
def command(volume_file: Path) -> None:
    """Give the volume of VOLUME.yaml, which must not be mounted, a new UUID.

    A copy has the UUID of its original, and is not mounted beside it: control socket, log and
    statistics go by the UUID. Copy a volume while it is not mounted.
    """
    uuid = give_new_uuid(load_volume_file(volume_file))
    click.echo(f"{printable(volume_file)}: the volume is {uuid} now")
