"""``tierfs demote``: send files to disk."""

from __future__ import annotations

import click

from tierfs.cli.byhand import wishes
from tierfs.cli.byhand.asking import ask_for
from tierfs.cli.byhand.options import Manner, acts, patience, waits
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs demote -r /mnt/images/screens/2025-11
tierfs demote --dry-run -r /mnt/images/old
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="demote", short_help="Send files to disk.")
@acts
@waits
def command(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
) -> int:
    """Send files to disk whole, heads as well, and forget how often they were read.

    PATH is a file of a tierfs mount, or with -r a directory; - is a list of files on standard
    input. Pinned files are refused; see tierfs unpin.
    """
    manner = Manner(null, recursive, dry_run, patience(wait=wait, timeout=timeout))
    return ask_for(wishes.DEMOTE, paths, manner)
