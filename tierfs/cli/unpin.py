"""``tierfs unpin``: let files go from flash again."""

from __future__ import annotations

import click

from tierfs.cli.byhand import wishes
from tierfs.cli.byhand.asking import ask_for
from tierfs.cli.byhand.options import Manner, acts
from tierfs.cli.verb import Verb

EXAMPLES = """
tierfs unpin -r /mnt/images/screens/2026-07
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="unpin", short_help="Let pinned files leave flash again."
)
@acts
def command(paths: tuple[str, ...], *, null: bool, recursive: bool, dry_run: bool) -> int:
    """End the pins of files. Nothing is moved: they leave flash when it has need of room.

    PATH is a file of a tierfs mount, or with -r a directory; - is a list of files on standard
    input. With -r the pins of directories end as well. Pins that the policy sets stay.
    """
    return ask_for(wishes.UNPIN, paths, Manner(null, recursive, dry_run, None))
