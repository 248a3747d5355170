"""``tierfs policy plan``: what a mount would move now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tierfs.base.text import printable
from tierfs.base.units import format_size
from tierfs.cli.policy.apply import mountpoint_of
from tierfs.cli.status import aligned
from tierfs.cli.verb import PATH, Verb
from tierfs.cli.waits import reasons
from tierfs.mount.asking import ask

EXAMPLES = """
tierfs policy plan /mnt/images
tierfs policy plan /etc/tierfs/images.yaml --json | jq '.moves[] | select(.move == "evict")'
"""

MOVES = {
    "evict": "off flash",
    "demote": "off flash",
    "promote": "to flash",
    "hand": "by hand",
    "mirror": "copy to disk",
}


@click.command(
    cls=Verb, epilog=EXAMPLES, name="plan", short_help="Say what a mount would move now."
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def command(mounted: Path, *, as_json: bool) -> None:
    """Say which moves the policy in force calls for now, in files and bytes, and why.

    Nothing is moved. The daemon goes through its whole index, some ten thousand files a second.
    Heads that come back when they are read next are not counted.
    """
    plan = ask(mountpoint_of(mounted), "policy plan")
    if as_json:
        click.echo(json.dumps(plan, indent=2))
        return
    for line in [*aligned(_facts(plan)), *_moves(plan), *_waiting(plan)]:
        click.echo(printable(line))


def _facts(plan: dict[str, Any]) -> list[tuple[str, ...]]:
    marks = [format_size(plan[key]) for key in ("high_watermark", "low_watermark")]
    used, capacity = format_size(plan["flash_used"]), format_size(plan["flash_capacity"])
    fullness = "too full" if plan["to_free"] else "not too full"
    return [
        ("policy", plan["policy"] or "none: only what is asked for by hand is moved"),
        ("files", f"{plan['files']:,}"),
        ("flash", f"{used} of {capacity}, {fullness}: evict above {marks[0]} down to {marks[1]}"),
    ]


def _moves(plan: dict[str, Any]) -> list[str]:
    if not plan["moves"]:
        return ["", "nothing to move"]
    rows: list[tuple[str, ...]] = [("move", "rule", "reason", "files", "bytes")]
    for move in plan["moves"]:
        rule = move["rule"] or "(defaults)"
        size = f"{move['files']:,}", format_size(move["bytes"])
        rows.append((MOVES[move["move"]], rule, move["reason"], *size))
    return ["", *aligned(rows, numbers=2), *_too_much(plan)]


def _too_much(plan: dict[str, Any]) -> list[str]:
    """Whether more is to come to flash than there is room for."""
    coming = sum(move["bytes"] for move in plan["moves"] if move["move"] == "promote")
    room = max(0, plan["high_watermark"] - plan["flash_used"])
    if coming <= room:
        return []
    free = f"{format_size(room)} is free below the high watermark"
    return ["", f"{free}: the rest comes when something else goes"]


def _waiting(plan: dict[str, Any]) -> list[str]:
    """Why files that are to be moved have not been yet."""
    if not plan.get("misplaced"):
        return []
    return [
        "",
        *aligned([("waiting for", "files", "bytes"), *reasons(plan["misplaced"])], numbers=2),
    ]
