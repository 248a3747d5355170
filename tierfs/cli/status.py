"""``tierfs status``: the parts of a mount, and how full it is."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command
from tierfs.cli.messages import aligned, counted, reasons_line
from tierfs.common.errors import printable
from tierfs.common.units import SECOND, format_size
from tierfs.daemon.control_client import ask

WAIT: Final = 0.3
MAX_WAIT: Final = 60.0
DAEMON_SECONDS: Final = 5.0
"""For the daemon to answer at all; it waits for no device."""
UNKNOWN: Final = "?"
LATE: Final = {
    "event_loop": "the event loop",
    "counts": "the count of files and bytes",
    "index": "the index's filesystem",
    "policy": "the tier policy",
    "tiering": "the tiering engine",
    "backup": "the directory of the backups",
    "scrub": "the scrub",
    "fast_path": "the fast path",
    "reads": "the count of bytes read",
}
"""The names for people; a tier has its own name."""

EXAMPLES = """
tierfs status /mnt/images
tierfs status /etc/tierfs/images.yaml
tierfs status /mnt/images --json | jq .tiers.flash.free
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="status",
    short_help="Show the parts of a mount, and how full it is.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
@click.option(
    "--wait",
    type=click.FloatRange(0, MAX_WAIT),
    default=WAIT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a tier or the index; a late value is shown as last known.",
)
def command(mounted: Path, *, as_json: bool, wait: float) -> None:
    """Show the tiers, index, options and daemon of a tierfs mount.

    The command answers with what the daemon knows even while a tier hangs or has failed.
    """
    status = ask(mounted, "status", seconds=wait + DAEMON_SECONDS, wait=wait)
    if as_json:
        reasons = degraded(status)
        health = {"ok": not reasons, "reasons": reasons}
        click.echo(json.dumps({"health": health, **status}, indent=2))
        return
    shown = [*aligned(facts(status)), "", *aligned(tiers(status), numbers=4)]
    for line in [*shown, *(["", *complaints] if (complaints := wrong(status)) else [])]:
        click.echo(printable(line))


def facts(status: dict[str, Any]) -> list[tuple[str, ...]]:
    """The mount's properties, name and value."""
    index, reasons = status["index"], degraded(status)
    more = f"; and {len(reasons) - 1} more, see below" if len(reasons) > 1 else ""
    return [
        ("health", f"degraded: {reasons[0]}{more}" if reasons else "ok"),
        ("volume", status["volume"]),
        ("UUID", status["uuid"]),
        ("mounted on", status["mountpoint"]),
        ("daemon", f"process {status['pid']}, up {timedelta(seconds=int(status['uptime_s']))}"),
        *supervisor(status.get("supervisor")),
        ("options", ",".join(status["options"])),
        ("fast path", fast_path(status["fast_path"])),
        ("head", format_size(status["head"])),
        *policy(status["policy"]),
        *_reads(status),
        *tiering(status["tiering"], read_only="ro" in status["options"]),
        *_flash_only(status),
        *_scrub(status),
        ("index", f"{index['path']}, {_size(index['bytes'])}, {_count(index['inodes'])} inodes"),
        *_backup(status),
        ("log", status["log"] or "the journal, or standard error in the foreground"),
    ]


def degraded(status: dict[str, Any]) -> list[str]:
    """Why a mount is not in order, a line each; empty: it is."""
    reasons = wrong(status)
    tiering_state, loaded = status["tiering"] or {}, status["policy"] or {}
    if loaded.get("problems"):
        reasons.append("the file of the policy is wrong; the one before is in force")
    if tiering_state.get("suspended"):
        reasons.append("the mover is suspended: too many moves failed, see the log")
    if (
        tiering_state.get("active")
        and tiering_state["flash_used"] > tiering_state["high_watermark"]
    ):
        reasons.append("flash is fuller than its high watermark")
    supervised = status.get("supervisor")
    if supervised and supervised["refusal"]:
        reasons.append(f"no daemon takes over if this one ends: {supervised['refusal']}")
    if "ro" not in status["options"]:
        tiers_seen = status["tiers"].items()
        reasons += [
            f"{name} is write-protected" for name, one in tiers_seen if one.get("read_only")
        ]
    return reasons


def _reads(status: dict[str, Any]) -> list[tuple[str, str]]:
    """How much of what reached tierfs flash answered; an older daemon does not report it."""
    read = status.get("read_bytes")
    total = sum(read.values()) if read else 0
    if not read or not total:
        return []
    share = 100 * read["flash"] / total
    shown = f"{share:.1f} % of {format_size(total)} came from flash, beside the page cache"
    return [("reads", shown)]


def supervisor(status: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Whether another daemon would take over, and how often one has."""
    if status is None:
        return []
    if status["refusal"]:
        return [("supervisor", f"none takes over: {status['refusal']}")]
    shown = f"process {status['pid']}, took over {status['restarts']:,} times"
    if status["restarts"]:
        shown += f", last {_moment(status['last_at'])}: {status['last_reason']}"
    return [("supervisor", shown)]


def policy(status: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Which tier policy is in force since when, and the problems of its file."""
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


def tiering(status: dict[str, Any] | None, *, read_only: bool) -> list[tuple[str, str]]:
    """How full flash is by the watermarks of the policy, and what the mover does."""
    if read_only:
        return [("mover", "nothing is moved: the mount is read-only")]
    if status is None:
        return [("mover", UNKNOWN)]
    rows = [("moves", _moves(status)), ("mover", _mover(status)), *_waits(status)]
    if not status["active"]:
        return rows
    sizes = ("flash_used", "flash_capacity", "high_watermark", "low_watermark")
    used, capacity, high, low = (format_size(status[key]) for key in sizes)
    use = [("flash use", f"{used} of {capacity}; evicts above {high} down to {low}")]
    if status.get("flash_files"):
        keys = ("flash_files_used", "flash_files", "files_high_watermark", "files_low_watermark")
        inodes, files, high, low = (f"{status[key]:,}" for key in keys)
        use.append(("", f"{inodes} of {files} inodes; evicts above {high} down to {low}"))
    return [*use, *rows]


def _waits(status: dict[str, Any]) -> list[tuple[str, str]]:
    """What is pinned, and why files are misplaced; an older daemon does not report it."""
    rows = []
    pinned = status.get("pinned")
    if pinned and pinned["files"]:
        missing = sum(one["bytes"] for one in status["pinned_elsewhere"].values())
        there = f"; {format_size(missing)} of it not on flash" if missing else ""
        rows.append(("pinned", f"{pinned['files']:,} files, {format_size(pinned['bytes'])}{there}"))
    if status.get("misplaced"):
        rows.append(("waiting for", reasons_line(status["misplaced"])))
    return rows


def _flash_only(status: dict[str, Any]) -> list[tuple[str, str]]:
    """What would be lost with flash; an older daemon does not report it."""
    alone = status.get("flash_only")
    if alone is None:
        return []
    if not alone["files"]:
        return [("only on flash", "nothing")]
    since = (status["tiering"] or {}).get("flash_only_since")
    shown = f"{alone['files']:,} files, {format_size(alone['bytes'])}"
    oldest = "" if since is None else f"; the oldest was changed {_moment(since / SECOND)}"
    return [("only on flash", shown + oldest)]


def _backup(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Where the backups are, and how old they are; an older daemon does not report it."""
    backup = status.get("backup")
    if backup is None:
        return []
    if not backup["on"]:
        return [("backup", "off")]
    problem = [("", f"failed: {backup['problem']}")] if backup.get("problem") else []
    if backup["last_s"] is None:
        return [("backup", f"{backup['directory']}, none yet"), *problem]
    last, behind = _moment(backup["last_s"]), f"{backup['behind']:,} changes not copied yet"
    size = f", {format_size(backup['bytes'])}" if backup.get("bytes") else ""
    return [("backup", f"{backup['directory']}, the last one {last}{size}; {behind}"), *problem]


def _scrub(status: dict[str, Any]) -> list[tuple[str, str]]:
    """Since when all files are verified; an older daemon does not report it."""
    scrub = status.get("scrub")
    if scrub is None:
        return []
    since = scrub["verified_since"]
    shown = "not all files yet" if since is None else f"all files since {_moment(since)}"
    under_way = f"; {scrub['state']}, {scrub['done']:.0%} done" if scrub["state"] != "idle" else ""
    return [("verified", shown + under_way)]


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
    """The metadata cache of the fast path, in a line."""
    if status is None:
        return "off"
    held = f"{status['inodes']:,} inodes and {status['names']:,} names"
    limit = format_size(status["memory_limit"])
    return f"{held} in {format_size(status['memory'])} of {limit}"


def tiers(status: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each tier, below its headings."""
    rows: list[tuple[str, ...]] = [("tier", "directory", "capacity", "free", "files", "bytes")]
    for name, tier in status["tiers"].items():
        room = [_size(tier[key]) for key in ("capacity", "free")]
        held = [_count(tier["files"]), _size(tier["bytes"])]
        protected = " (write-protected)" if tier["read_only"] else ""
        rows.append((name, f"{tier['directory']}{protected}", *room, *held))
    return rows


def wrong(status: dict[str, Any]) -> list[str]:
    """What does not answer, fails, or is outdated, a line each.

    A daemon of an earlier version does not report it.
    """
    lines = []
    for name, late in status.get("late", {}).items():
        what = LATE.get(name, name)
        how = f"has failed: {late['error']}" if late["error"] else "does not answer"
        waits = f" since {late['waiting_s']:g} s" if late["waiting_s"] is not None else ""
        age = late["age_s"]
        shown = "no value is known" if age is None else f"the value shown is {age:g} s old"
        lines.append(f"{what} {how}{waits}; {shown}")
    lines += [
        f"in the background, {task} fails and is tried again: {error}"
        for task, error in status.get("background", {}).items()
    ]
    if lost := (status.get("scrub") or {}).get("lost_files"):
        lines.append(
            f"{counted(lost, 'file has', 'files have')} bytes that no copy has right; reading them "
            "gives EIO: see tierfs scrub status"
        )
    if changed := status.get("changed_outside"):
        lines.append(
            f"the originals of {changed:,} adopted files were changed by others since the mount: "
            "reading them fails; see tierfs adopt --refresh"
        )
    metrics = status.get("metrics")
    if metrics is not None and not metrics["serving"]:
        lines.append(f"the metrics are not served: {metrics['error']}; it is tried again")
    return lines


def _size(value: int | None) -> str:
    return UNKNOWN if value is None else format_size(value)


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"
