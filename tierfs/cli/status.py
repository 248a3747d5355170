"""``tierfs status``: what a mount is made of and how full it is."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tierfs.base.units import format_size
from tierfs.cli.verb import Verb
from tierfs.mount.asking import ask

EXAMPLES = """
tierfs status /mnt/images
tierfs status /mnt/images --json | jq .tiers.flash.free
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="status", short_help="Show what a mount is made of.")
@click.argument("mountpoint", metavar="MOUNTPOINT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(mountpoint: Path, *, as_json: bool) -> None:
    """Show the tiers, index, options and daemon of the tierfs mount at MOUNTPOINT."""
    status = ask(mountpoint, "status")
    if as_json:
        click.echo(json.dumps(status, indent=2))
        return
    for line in [*aligned(facts(status)), "", *aligned(tiers(status), numbers=4)]:
        click.echo(line)


def facts(status: dict[str, Any]) -> list[tuple[str, ...]]:
    """The mount's properties, name and value."""
    index = status["index"]
    return [
        ("volume", status["volume"]),
        ("UUID", status["uuid"]),
        ("mounted on", status["mountpoint"]),
        ("daemon", f"process {status['pid']}, up {timedelta(seconds=int(status['uptime_s']))}"),
        ("options", ",".join(status["options"])),
        ("fast path", fast_path(status["fast_path"])),
        ("head", format_size(status["head"])),
        *policy(status["policy"]),
        *tiering(status["tiering"], read_only="ro" in status["options"]),
        ("index", f"{index['path']}, {format_size(index['bytes'])}, {index['inodes']:,} inodes"),
        ("log", status["log"] or "the journal, or standard error in the foreground"),
    ]


def policy(status: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Which tier policy is in force since when, and what is wrong with its file."""
    if status is None:
        return [("policy", "none")]
    since = f"in force since {_moment(status['since'])} ({status['by']})"
    problems = status["problems"]
    shown = [f"{status['path']}, {since}"]
    if problems is not None:
        count, lines = problems["count"], problems["lines"]
        shown += [f"but the file is wrong since {_moment(problems['since'])}:", *lines]
        shown += [f"and {count - len(lines)} more; see the log"] if count > len(lines) else []
    return [(name, line) for name, line in zip(["policy", *[""] * len(shown)], shown, strict=False)]


def tiering(status: dict[str, Any], *, read_only: bool) -> list[tuple[str, str]]:
    """How full flash is by the policy's measure, and what the mover does."""
    if read_only:
        return [("mover", "nothing is moved: the mount is read-only")]
    rows = [("moves", _moves(status)), ("mover", _mover(status))]
    if not status["active"]:
        return rows
    sizes = ("flash_used", "flash_capacity", "high_watermark", "low_watermark")
    used, capacity, high, low = (format_size(status[key]) for key in sizes)
    return [("flash use", f"{used} of {capacity}; evicts above {high} down to {low}"), *rows]


def _moves(status: dict[str, Any]) -> str:
    moved = ", ".join(f"{kind} {files:,}" for kind, files in status["moved"].items() if files)
    copied, freed = format_size(status["copied"]), format_size(status["freed"])
    sums = f"{copied} copied, {freed} freed on flash, {status['failed']:,} failed"
    return f"{moved or 'none'} since the mount; {sums}"


def _mover(status: dict[str, Any]) -> str:
    waiting = sum(status["waiting"].values())
    queue = f"{status['moving']} under way, {waiting:,} waiting"
    if status["suspended"]:
        return f"suspended, since too many moves failed; {queue}"
    return queue if status["in_window"] else f"waits for its window; {queue}"


def _moment(seconds: float) -> str:
    """A time since the epoch as local time."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def fast_path(status: dict[str, int] | None) -> str:
    """What the fast path holds, in a line."""
    if status is None:
        return "off"
    held = f"{status['inodes']:,} inodes and {status['names']:,} names"
    limit = format_size(status["memory_limit"])
    return f"{held} in {format_size(status['memory'])} of {limit}"


def tiers(status: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each tier, below its headings."""
    rows: list[tuple[str, ...]] = [("tier", "directory", "capacity", "free", "files", "bytes")]
    for name, tier in status["tiers"].items():
        room = [format_size(tier[key]) for key in ("capacity", "free")]
        held = [f"{tier['files']:,}", format_size(tier["bytes"])]
        protected = " (write-protected)" if tier["read_only"] else ""
        rows.append((name, f"{tier['directory']}{protected}", *room, *held))
    return rows


def aligned(rows: list[tuple[str, ...]], *, numbers: int = 0) -> list[str]:
    """The rows as lines; the last ``numbers`` columns end, the others begin, at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    signs = ["<"] * (len(widths) - numbers) + [">"] * numbers
    form = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True))
    return [form.format(*row).rstrip() for row in rows]
