"""``tierfs install-helpers``: teach mount(8) and fstab(5) the type ``tierfs``."""

from __future__ import annotations

from pathlib import Path

import click

from tierfs.cli.verb import Verb
from tierfs.common.text import printable
from tierfs.daemon import helpers

EXAMPLES = """
sudo tierfs install-helpers
sudo mount -t tierfs /etc/tierfs/images.yaml /mnt/images -o noatime
# A line of /etc/fstab:
/etc/tierfs/images.yaml  /mnt/images  tierfs  noatime,nofail,_netdev  0  0
"""


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="install-helpers",
    short_help="Make `mount -t tierfs` and fstab lines work.",
)
@click.option("--remove", is_flag=True, help="Take the helpers away again.")
@click.option(
    "--sbin",
    type=click.Path(file_okay=False, path_type=Path),
    default=helpers.SBIN,
    show_default=True,
    metavar="DIR",
    help="Where mount(8) looks for helpers.",
)
def command(*, remove: bool, sbin: Path) -> None:
    """Put the helper programs of mount(8) in place, as root."""
    changed = helpers.remove(sbin) if remove else helpers.install(sbin)
    for path in changed:
        click.echo(f"{'removed' if remove else 'wrote'} {printable(path)}")
    if not changed:
        click.echo("nothing to remove" if remove else "already in place")
