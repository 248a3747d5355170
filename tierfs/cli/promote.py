"""``tierfs promote``: bring files to flash."""

from __future__ import annotations

import click

from tierfs.cli.byhand import wishes
from tierfs.cli.byhand.asking import ask_for
from tierfs.cli.byhand.options import Manner, PrefixType, acts, patience, waits
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs promote --wait -r /mnt/images/train
tierfs promote --to 1MiB /mnt/images/*.tif
find /mnt/images -name '*.tif' -print0 | tierfs promote -0 -
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="promote", short_help="Bring files to flash, once.")
@acts
@click.option(
    "--to",
    "prefix",
    type=PrefixType(),
    metavar="SIZE",
    default="all",
    show_default=True,
    help="How much of each file: a size, or all.",
)
@waits
def command(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    prefix: int,
    wait: bool,
    timeout: float | None,
) -> int:
    """Bring files to flash. They may leave it again when it has need of room; see tierfs pin.

    PATH is a file of a tierfs mount, or with -r a directory; - is a list of files on standard
    input. Of what is on flash already nothing is moved.
    """
    manner = Manner(null, recursive, dry_run, patience(wait=wait, timeout=timeout))
    return ask_for(wishes.promote(prefix), paths, manner)
