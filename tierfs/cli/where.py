"""``tierfs where``: on which tier files are, and what was asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from tierfs.base.by_hand import show_prefix
from tierfs.base.extents import WHOLE_FILE
from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.cli.byhand.files import Complaints, files
from tierfs.cli.byhand.options import recursive as may_recurse
from tierfs.cli.byhand.place import Place, place_of
from tierfs.cli.given import require_files, takes_files
from tierfs.cli.verb import Verb

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


@click.command(cls=Verb, epilog=EXAMPLES, name="where", short_help="Show on which tier files are.")
@takes_files
@may_recurse
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; sizes in bytes.")
def command(paths: tuple[str, ...], *, null: bool, recursive: bool, as_json: bool) -> int:
    """Show how many bytes of files are on flash and on disk, and what was asked for by hand.

    PATH is a file of a tierfs mount, or with -r a directory; - is a list of files on standard
    input.
    """
    require_files("where", paths, null=null)
    complaints = Complaints()
    found = places(paths, complaints, null=null, recursive=recursive)
    try:
        for line in array(found) if as_json else table(found):
            click.echo(line)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    finally:
        complaints.tell_skipped()
    return complaints.exit_code


def _discard_output() -> None:
    """Who reads it has seen enough; Python would try to write the rest at its end."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def places(
    words: tuple[str, ...], complaints: Complaints, *, null: bool, recursive: bool
) -> Iterator[tuple[bytes, Place]]:
    """Each file with its place."""
    for path in files(words, complaints, null=null, recursive=recursive):
        try:
            yield path, place_of(path)
        except OSError as error:
            complaints.failed(path, error)


def table(found: Iterator[tuple[bytes, Place]]) -> Iterator[str]:
    """A line for each file, below the headings, and one with the sums of several; none for none."""
    size = flash = count = 0
    for path, place in found:
        if not count:
            yield HEADINGS
        count += 1
        size += place.size
        flash += place.flash
        yield row(path, place)
    if count > 1:
        sums = [format_size(number) for number in (size, flash, size - flash)]
        yield FORM.format(*sums, "", "", "", "", "", f"{count:,} files").rstrip()


def row(path: bytes, place: Place) -> str:
    """One file, for people."""
    requested = "-" if place.requested is None else _shown(place.requested)
    return FORM.format(
        *(format_size(number) for number in (place.size, place.flash, place.disk)),
        place.location,
        "yes" if place.mirrored else "no",
        place.pinned_until or "for ever" if place.is_pinned else "-",
        requested,
        "-" if place.waits is None else place.waits + (" stuck" if place.stuck else ""),
        printable(path) + _by(place),
    )


def _by(place: Place) -> str:
    """Which directory pins it, where it has no pin of its own."""
    if place.pin is not None or place.pinned_by is None:
        return ""
    return f"  (pinned by {printable(os.fsencode(place.pinned_by))})"


def _shown(prefix: int) -> str:
    return "all" if prefix == WHOLE_FILE else "none" if prefix == 0 else format_size(prefix)


def array(found: Iterator[tuple[bytes, Place]]) -> Iterator[str]:
    """The lines of a JSON array, each file as it is found."""
    yield "["
    last = ""
    for path, place in found:
        if last:
            yield f"  {last},"
        last = json.dumps(record(path, place))
    if last:
        yield f"  {last}"
    yield "]"


def record(path: bytes, place: Place) -> dict[str, Any]:
    """One file, for programs."""
    requested = place.requested
    return {
        "path": os.fsdecode(path),
        "size": place.size,
        "flash": place.flash,
        "disk": place.disk,
        "location": place.location,
        "prefix": show_prefix(place.prefix).decode(),
        "mirrored": place.mirrored,
        "pinned": place.is_pinned,
        "pinned_until": place.pinned_until,
        "pinned_by": None if place.pin is not None else place.pinned_by,
        "requested": None if requested is None else show_prefix(requested).decode(),
        "waits": place.waits,
        "stuck": place.stuck,
    }
