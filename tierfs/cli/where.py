"""``tierfs where``: on which tier files are, and their pins and requests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import Command
from tierfs.cli.files import (
    Placement,
    Reporter,
    files,
    placement_of,
    require_files,
    takes_files,
)
from tierfs.cli.manual import recursive as may_recurse
from tierfs.common.errors import printable
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.tierfs_xattrs import show_prefix
from tierfs.common.units import format_size

EXAMPLES = """
tierfs where /mnt/images/cells.tif
tierfs where -r /mnt/images/train
tierfs where --json -r /mnt/images | jq 'map(.flash) | add'
"""

FORM: Final = "{:>8}  {:>8}  {:>8}  {:5}  {:8}  {:20}  {:9}  {:11}  {}"
HEADINGS: Final = FORM.format(
    "size",
    "on flash",
    "on disk",
    "where",
    "mirrored",
    "pinned until",
    "requested",
    "waits",
    "path",
)


@click.command(
    cls=Command, epilog=EXAMPLES, name="where", short_help="Show on which tier files are."
)
@takes_files
@may_recurse
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; sizes in bytes.")
def command(paths: tuple[str, ...], *, null: bool, recursive: bool, as_json: bool) -> int:
    """Show how many bytes of files are on flash and on disk, and their pins and requests.

    PATH is a file of a tierfs mount, or with -r a directory; - reads a list of files from standard
    input.
    """
    require_files("where", paths, null=null)
    reporter = Reporter()
    found = placements(paths, reporter, null=null, recursive=recursive)
    try:
        for line in array(found) if as_json else table(found):
            click.echo(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe; else Python would fail to write the rest when it exits.
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    finally:
        reporter.print_rest()
    return reporter.exit_code


def placements(
    words: tuple[str, ...], reporter: Reporter, *, null: bool, recursive: bool
) -> Iterator[tuple[bytes, Placement]]:
    """Each file with its placement."""
    for path in files(words, reporter, null=null, recursive=recursive):
        try:
            yield path, placement_of(path)
        except OSError as error:
            reporter.failed(path, error)


def table(found: Iterator[tuple[bytes, Placement]]) -> Iterator[str]:
    """The headings, a line for each file, and one with the sums if there are several files."""
    size = flash = count = 0
    for path, placement in found:
        if not count:
            yield HEADINGS
        count += 1
        size += placement.size
        flash += placement.flash
        yield row(path, placement)
    if count > 1:
        sums = [format_size(number) for number in (size, flash, size - flash)]
        yield FORM.format(*sums, "", "", "", "", "", f"{count:,} files").rstrip()


def row(path: bytes, placement: Placement) -> str:
    """One file, for people."""
    requested = "-" if placement.requested is None else _shown(placement.requested)
    shown = printable(path)
    if placement.pin is None and placement.pinned_by is not None:
        shown += f"  (pinned by {printable(os.fsencode(placement.pinned_by))})"
    return FORM.format(
        *(format_size(number) for number in (placement.size, placement.flash, placement.disk)),
        placement.location,
        "yes" if placement.mirrored else "no",
        placement.pinned_until or "no end" if placement.is_pinned else "-",
        requested,
        "-" if placement.waits is None else placement.waits + (" stuck" if placement.stuck else ""),
        shown,
    )


def _shown(prefix: int) -> str:
    return "all" if prefix == WHOLE_FILE else "none" if prefix == 0 else format_size(prefix)


def array(found: Iterator[tuple[bytes, Placement]]) -> Iterator[str]:
    """The lines of a JSON array, each file as it is found."""
    yield "["
    last = ""
    for path, placement in found:
        if last:
            yield f"  {last},"
        last = json.dumps(record(path, placement))
    if last:
        yield f"  {last}"
    yield "]"


def record(path: bytes, placement: Placement) -> dict[str, Any]:
    """One file, for programs."""
    requested = placement.requested
    return {
        "path": os.fsdecode(path),
        "size": placement.size,
        "flash": placement.flash,
        "disk": placement.disk,
        "location": placement.location,
        "prefix": show_prefix(placement.prefix).decode(),
        "mirrored": placement.mirrored,
        "pinned": placement.is_pinned,
        "pinned_until": placement.pinned_until,
        "pinned_by": None if placement.pin is not None else placement.pinned_by,
        "requested": None if requested is None else show_prefix(requested).decode(),
        "waits": placement.waits,
        "stuck": placement.stuck,
    }
