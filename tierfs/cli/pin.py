"""``tierfs pin``: keep files on flash."""

from __future__ import annotations

import click

from tierfs.cli.byhand import wishes
from tierfs.cli.byhand.asking import ask_for
from tierfs.cli.byhand.options import Manner, PinType, acts, patience, waits
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs pin -r /mnt/images/screens/2026-07
tierfs pin --for 6h --wait -r /mnt/images/train
tierfs pin --for 6h - < epoch.txt
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="pin", short_help="Bring files to flash and keep them there."
)
@acts
@click.option(
    "--for",
    "length",
    type=PinType(),
    metavar="TIME",
    help="Only so long: 90s, 6h, 7d.  [default: until tierfs unpin]",
)
@waits
def command(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    length: str | None,
    wait: bool,
    timeout: float | None,
) -> int:
    """Bring the files to flash whole and keep them there, whatever the policy says.

    PATH is a file of a tierfs mount, or with -r a directory; - is a list of files on standard
    input. A pin belongs to the file, not to its name; that of a directory holds for all that is in
    and below it, also for what is made or moved there later. It can be set by the owner and root.
    """
    manner = Manner(null, recursive, dry_run, patience(wait=wait, timeout=timeout))
    return ask_for(wishes.pin(length), paths, manner)
