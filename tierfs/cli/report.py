"""``tierfs report``: what is on a mount, what flash gained, as one HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

import click
import jinja2

from tierfs.cli.command import FILE, PATH, Command, disk_options
from tierfs.cli.du import sum_up, user_name
from tierfs.cli.messages import WAITS, reasons
from tierfs.cli.progress import progress_bar
from tierfs.cli.status import wrong
from tierfs.common.errors import TierfsError, UsageError, printable
from tierfs.common.units import KIB, SECOND, format_duration, format_size
from tierfs.daemon.control_client import ask
from tierfs.metadata.reader import SIZE_CLASSES
from tierfs.policy.tier_policy import load_policy
from tierfs.policy.volume_file import VolumeFile, load_volume_file
from tierfs.tiering.access_log import Recording, older
from tierfs.tiering.replay.advice import Disk
from tierfs.tiering.replay.history import History, history

SECONDS: Final = 3600.0
"""The longest wait for an answer: the index is read at the lowest priority."""

WAIT: Final = 5.0
"""Seconds that the status may wait for a slow tier."""

ROWS: Final = 20
"""Directories and owners that are shown, those with most bytes."""

HEADS: Final = tuple(size for size in SIZE_CLASSES if 16 * KIB <= size <= 4096 * KIB)

EXAMPLES = """
tierfs report /mnt/images
tierfs report /mnt/images --output /var/www/html/images.html
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="report",
    short_help="Write an HTML page on what is on flash and what it gained.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE.html",
    default="tierfs-report.html",
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--log", metavar="ACCESS-LOG", type=FILE, help="The log.  [default: that of the volume file]"
)
@disk_options
def command(
    mounted: Path, *, output: Path, log: Path | None, disk_latency: float, disk_rate: int
) -> None:
    """Write an HTML page on what is on flash and what it gained; it loads nothing from elsewhere.

    It shows occupancy by directory and owner, the sizes of files and what other heads would cover,
    hit rates over time, and what the policy did. Hit rates and time saved come from the accesses
    that the mount recorded (section access_log of the volume file), replayed with the policy in
    force. The index is read at the lowest priority. Only root, and the group that the volume file
    names, may ask.
    """
    disk = Disk(disk_latency / 1000, disk_rate)
    with progress_bar("") as bar:
        task = bar.add_task("asking the daemon", total=None, done="")
        status = ask(mounted, "status", seconds=WAIT + SECONDS, wait=WAIT)
        bar.update(task, description="reading the index")
        usages = ask(mounted, "du", seconds=SECONDS, directory=1, depth=1)["directories"]
        classes = ask(mounted, "sizes", seconds=SECONDS)["classes"]
        bar.update(task, description="replaying the access log")
        settings = load_volume_file(Path(status["volume"]))
        told = _history(settings, log, status)
    template = resources.files("tierfs.cli").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        {
            **_heading(status),
            **_usage(usages, classes, status),
            **_over_time(told, disk),
            **_moves(status),
            "tiles": list(_tiles(status, told, disk)),
        }
    )
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}; name another file with --output") from None
    click.echo(f"{output} ({format_size(len(page.encode()))})")


def _heading(status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "mountpoint": printable(status["mountpoint"]),
        "volume": printable(status["volume"]),
        "made": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        "version": metadata.version("tierfs"),
        "wrong": [printable(line) for line in wrong(dict(status))],
        "head": format_size(status["head"]),
    }


# ------------------------------------------------------------------ what is there


def _usage(
    usages: Sequence[Mapping[str, Any]],
    classes: Sequence[Mapping[str, Any]],
    status: Mapping[str, Any],
) -> dict[str, Any]:
    mountpoint = Path(status["mountpoint"])
    shown = [
        {**one, "name": printable(mountpoint / one["path"].lstrip("/"))} for one in usages[:ROWS]
    ]
    owners = sum_up(classes, "uid")
    sizes = sum_up(classes, "up_to")
    by_size = [{**sizes[most], "name": format_size(most)} for most in SIZE_CLASSES if most in sizes]
    if 0 in sizes:
        by_size.append({**sizes[0], "name": "larger"})
    most_owned = sorted(owners.items(), key=lambda one: -one[1]["size"])[:ROWS]
    return {
        "directories": _bars(shown),
        "more_directories": max(0, len(usages) - ROWS),
        "owners": _bars([{**one, "name": user_name(uid)} for uid, one in most_owned]),
        "sizes": _bars(by_size),
        "heads": list(_heads(sizes, status)),
    }


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows in words, with the lengths of their bars in percent."""
    largest = max((one["size"] for one in rows), default=0) or 1
    return [
        {
            "name": one["name"],
            "files": f"{one['files']:,}",
            "size": format_size(one["size"]),
            "flash": format_size(one["flash"]),
            "mirrored": format_size(one.get("mirrored", 0)),
            "all": f"{100 * one['size'] / largest:.1f}",
            "part": f"{100 * one['flash'] / (one['size'] or 1):.1f}",
        }
        for one in rows
    ]


def _heads(sizes: Mapping[int, Mapping[str, int]], status: Mapping[str, Any]) -> Iterable[Any]:
    """What heads of other sizes would take, and cover."""
    files = sum(one["files"] for one in sizes.values())
    size = sum(one["size"] for one in sizes.values())
    flash = (status["tiers"]["flash"] or {}).get("capacity")
    for head in HEADS:
        whole = [one for most, one in sizes.items() if most and most <= head]
        within = sum(one["files"] for one in whole)
        covered = sum(one["size"] for one in whole) + (files - within) * head
        yield {
            "name": format_size(head),
            "size": format_size(covered),
            "of_flash": _percent(covered, flash),
            "whole": _percent(within, files),
            "share": _percent(covered, size),
            "part": f"{100 * covered / size if size else 0:.1f}",
        }


def _percent(part: int, whole: int | None) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "?"


# ------------------------------------------------------------------ what flash gained


def _history(settings: VolumeFile, log: Path | None, status: Mapping[str, Any]) -> History | str:
    """The access log under the policy in force; else why there is none."""
    path = log
    if path is None and settings.access_log is not None:
        path = settings.access_log.file
    if path is None:
        return (
            "No accesses are recorded: add access_log: {file: FILE} to the volume file and"
            " mount again."
        )
    if log is None and not path.exists() and not older(path).exists():
        return f"No read is in {printable(path)} yet."
    if settings.policy is None:
        return "There is no tier policy, so the access log is not replayed."
    capacity = (status["tiers"]["flash"] or {}).get("capacity")
    if not capacity:
        return "The size of flash is not known while it does not answer."
    try:
        policy = load_policy(settings.policy, head=settings.head)
        told = history(Recording(path), policy, capacity)
    except TierfsError as error:
        if log is not None:
            raise
        return f"The access log was not replayed: {printable(str(error))}"
    return told if told.ledger.reads else f"No read is in {printable(path)} yet."


def _over_time(told: History | str, disk: Disk) -> dict[str, Any]:
    if isinstance(told, str):
        return {"history": None, "no_history": told, "disk": ""}
    slots = told.slots
    length = format_duration(slots.length)

    def moment(time: int) -> str:
        return f"{datetime.fromtimestamp(time // SECOND).astimezone():%Y-%m-%d %H:%M:%S}"

    return {
        "no_history": "",
        "disk": f"{1000 * disk.latency:g} ms for each read that begins there,"
        f" {format_size(disk.rate)} a second",
        "history": {
            "length": length,
            "first": moment(told.played.first),
            "last": moment(told.played.last),
            "waited": _seconds(disk.waited(told.ledger)),
            "alone": _seconds(disk.waiting(told.ledger.reads, told.ledger.bytes_read)),
            "slots": [
                {
                    "part": f"{100 * slot.hits / slot.reads if slot.reads else 0:.1f}",
                    "title": f"{moment(slots.begin + number * slots.length)}:"
                    f" {_percent(slot.hits, slot.reads)} of {slot.reads:,} reads",
                }
                for number, slot in enumerate(slots.slots)
            ],
        },
    }


def _tiles(status: Mapping[str, Any], told: History | str, disk: Disk) -> Iterable[Any]:
    for name, tier in status["tiers"].items():
        if tier and tier.get("capacity"):
            used = tier["capacity"] - tier["free"]
            meaning = f"of {format_size(tier['capacity'])} on {name} in use"
            yield {"value": _percent(used, tier["capacity"]), "meaning": meaning}
    if isinstance(told, History):
        ledger = told.ledger
        yield {"value": f"{100 * ledger.hit_rate:.1f} %", "meaning": "of reads began on flash"}
        saved = disk.waiting(ledger.reads, ledger.bytes_read) - disk.waited(ledger)
        yield {"value": _seconds(saved), "meaning": "of waiting saved against disk alone"}
    alone = status.get("flash_only")
    if alone:
        files = f"only on flash ({alone['files']:,} files)"
        yield {"value": format_size(alone["bytes"]), "meaning": files}


def _seconds(seconds: float) -> str:
    return format_duration(round(seconds * 10) * SECOND // 10)


# ------------------------------------------------------------------ what the policy did


def _moves(status: Mapping[str, Any]) -> dict[str, Any]:
    policy = status["policy"]
    tiering = status["tiering"] or {}
    moved = tiering.get("moved") or {}
    return {
        "policy": "There is no tier policy: files are moved by hand only."
        if policy is None
        else f"{printable(policy['path'])} is in force.",
        "moves": [(name, f"{count:,}") for name, count in moved.items()],
        "waiting": [
            (WAITS.get(why, why), files, size)
            for why, files, size in reasons(tiering.get("misplaced") or {})
        ],
    }
