"""``tierfs umount``: unmount, and wait until the volume is closed."""

from __future__ import annotations

from pathlib import Path

import click

from tierfs.cli.verb import PATH, Verb
from tierfs.mount.departure import leave

EXAMPLES = """
tierfs umount /mnt/images
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="umount", short_help="Unmount a volume.")
@click.argument("mountpoint", metavar="MOUNTPOINT", type=PATH)
@click.option("-l", "--lazy", is_flag=True, help="Detach it now, even while programs use it.")
def command(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount MOUNTPOINT and return when its daemon has closed the volume.

    umount(8) does as well; it returns a moment earlier. What a killed daemon left mounted is
    unmounted too.
    """
    leave(mountpoint, lazy=lazy)
