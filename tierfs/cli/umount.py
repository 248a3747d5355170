"""``tierfs umount``: unmount, and wait until the volume is closed."""

from __future__ import annotations

from pathlib import Path

import click

from tierfs.cli.command import PATH, Command
from tierfs.common.errors import printable
from tierfs.daemon.unmount import END_SECONDS, unmount_and_wait

EXAMPLES = """
tierfs umount /mnt/images
tierfs umount --timeout 30 /mnt/images
"""


@click.command(cls=Command, epilog=EXAMPLES, name="umount", short_help="Unmount a volume.")
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("-l", "--lazy", is_flag=True, help="Detach it now, even while programs use it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=END_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the daemon to close the volume.",
)
def command(mounted: Path, *, lazy: bool, timeout: float) -> None:
    """Unmount a volume and return when its daemon has closed it.

    umount(8) works as well, but returns before the volume is closed. The command also unmounts what
    a killed daemon left mounted. After 2 seconds it prints what it waits for: another mount
    namespace (a container, a service) that still has the mount, a program that uses it, or the
    daemon, which writes out the rest.
    """
    unmount_and_wait(mounted, lazy=lazy, seconds=timeout, tell=_echo)


def _echo(text: str) -> None:
    # Printable: the text has names of programs and of other users' mounts.
    click.echo(printable(text), err=True)
