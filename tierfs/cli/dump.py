"""``tierfs dump`` and ``load``: an index as lines of JSON, and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import click

from tierfs.backup.dump import dump_backup, dump_volume
from tierfs.backup.files import directory_of
from tierfs.backup.restore import Listener, Report, restore
from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.restore import told
from tierfs.common.errors import ExitCode
from tierfs.policy.volume_file import load_volume_file

EXAMPLES = """
tierfs dump /etc/tierfs/images.yaml | zstd > images.dump.zst
tierfs dump --last-backup images.yaml | jq -r 'select(.of == "name") | .name'
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="dump", short_help="Print an index as lines of JSON."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.option(
    "--last-backup",
    is_flag=True,
    help="Of the newest backup and the changes since: of a mounted volume, too.",
)
@click.option("--backup", type=PATH, metavar="FILE", help="Of this backup.")
def command(volume_file: Path, *, last_backup: bool, backup: Path | None) -> int:
    """Print every name, attribute and extended attribute of the volume of VOLUME.yaml.

    The volume must not be mounted, unless a backup is printed. The form is documented, and any
    later tierfs reads it.
    """
    settings = load_volume_file(volume_file)
    if last_backup or backup is not None:
        lines = dump_backup(directory_of(settings), backup and backup.absolute())
    else:
        lines = dump_volume(settings)
    for line in lines:
        sys.stdout.write(line + "\n")
    return ExitCode.OK


LOAD_EXAMPLES = """
zstd -dc images.dump.zst | tierfs load /etc/tierfs/images.yaml -
"""


@click.command(
    cls=Command, epilog=LOAD_EXAMPLES, name="load", short_help="Make an index of a dump."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.argument("dump", metavar="FILE", type=click.File("r", encoding="utf-8"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@may_be_quiet
def load(volume_file: Path, dump: TextIO, *, as_json: bool) -> int:
    """Make the index of the volume of VOLUME.yaml, which has none, of FILE, or standard input (-).

    As `tierfs restore` does, it lets the index agree with the objects, and prints the first ten
    files of which bytes are missing.

    Exit codes: 0: nothing is missing; 7: bytes of files are.
    """
    settings = load_volume_file(volume_file)

    def work(listener: Listener) -> Report:
        return restore(settings, dump=dump, listener=listener)

    return told(work, as_json=as_json)
