"""``tierfs facts``: how far the header facts of a mount are, and what could not be read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command, CommandGroup
from tierfs.cli.messages import aligned
from tierfs.common.errors import printable
from tierfs.daemon.control_client import ask

POLL_S: Final = 0.5

EXAMPLES = """
tierfs facts status /mnt/images
tierfs facts errors /mnt/images
"""

STATUS_EXAMPLES = """
tierfs facts status /mnt/images
tierfs facts status --json /mnt/images | jq .pending
"""

RUN_EXAMPLES = """
tierfs facts run /mnt/images
tierfs facts run --wait /mnt/images
"""

ERRORS_EXAMPLES = """
tierfs facts errors /mnt/images
tierfs facts errors --json /mnt/images | jq -r .path
"""

MOUNTED: Final = click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(
    cls=CommandGroup,
    modules={
        "status": "tierfs.cli.facts:status",
        "run": "tierfs.cli.facts:run",
        "errors": "tierfs.cli.facts:errors",
    },
    epilog=EXAMPLES,
    name="facts",
    short_help="Read the headers of files, and show how far that is done.",
)
def command() -> None:
    """Show how far the header facts of a mounted volume are, such as the widths of its images.

    `getfattr -n tierfs.fact.image.width FILE` shows one.
    """


@click.command(
    cls=Command, epilog=STATUS_EXAMPLES, name="status", short_help="Show how far the facts are."
)
@MOUNTED
@AS_JSON
def status(mounted: Path, *, as_json: bool) -> None:
    """Show which extractors there are, how many files they looked at, and how many are to come."""
    _show(ask(mounted, "facts status"), as_json=as_json)


@click.command(cls=Command, epilog=RUN_EXAMPLES, name="run", short_help="Look at all files now.")
@MOUNTED
@click.option("--wait", is_flag=True, help="Return when all that are there now were looked at.")
@AS_JSON
def run(mounted: Path, *, wait: bool, as_json: bool) -> None:
    """Look at every file that was not looked at yet, without waiting until it is left alone.

    Files are looked at in the background anyway, a minute after their last change. A file that is
    being written is looked at when its bytes are settled. Files that change after the call are not
    waited for.
    """
    record = ask(mounted, "facts run")
    while wait and record["asked"] and not record["problem"]:
        time.sleep(POLL_S)
        record = ask(mounted, "facts status")
    _show(record, as_json=as_json)


@click.command(
    cls=Command,
    epilog=ERRORS_EXAMPLES,
    name="errors",
    short_help="List files whose headers could not be read.",
)
@MOUNTED
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def errors(mounted: Path, *, as_json: bool) -> None:
    """List the files whose headers could not be read, each with the reason.

    Such a file is tried again when it changes, or when a newer extractor is installed.
    """
    for each in _errors(mounted):
        if as_json:
            click.echo(json.dumps(each))
        else:
            click.echo(printable(f"{each['path']}: {each['error']}"))


def _errors(mounted: Path) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        answer = ask(mounted, "facts errors", after=after)
        yield from answer["errors"]
        after = answer["next"]


def _show(record: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record, indent=2))
        return
    for line in aligned(rows(record)):
        click.echo(printable(line))


def rows(record: dict[str, Any]) -> list[tuple[str, ...]]:
    """How far the facts are, name and value."""
    if not record["enabled"]:
        return [("facts", "off; 'facts: {enabled: true}' in the volume file turns them on")]
    files = record["files"]
    counts = ", ".join(
        f"{files.get(outcome, 0):,} {what}"
        for outcome, what in (("found", "with facts"), ("none", "unknown"), ("error", "wrong"))
    )
    extractors = ", ".join(f"{name} {at}" for name, at in record["extractors"].items())
    found: list[tuple[str, ...]] = [
        ("facts", f"{record['state']}, {record['pending']:,} files to come"),
        ("all files", f"{record['pass']:.0%} looked at"),
        ("this mount", counts),
        ("extractors", extractors or "not loaded yet"),
    ]
    found += [("missing", f"{name}: {why}") for name, why in record["missing"].items()]
    found += [("not confined", what) for what in record["refused"]]
    if record["problem"]:
        found.append(("problem", record["problem"]))
    return found
