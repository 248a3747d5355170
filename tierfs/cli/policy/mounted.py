"""``tierfs policy apply`` and ``plan``: what a mount does with its policy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import aligned, message, reasons
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ConfigError, NotMounted, TierfsError, UsageError, printable
from tierfs.common.units import format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import Mount, mounts

APPLY_EXAMPLES = """
tierfs policy apply /mnt/images
tierfs policy apply /etc/tierfs/images.yaml
tierfs policy check new.yaml && mv new.yaml policy.yaml && tierfs policy apply
"""


@click.command(
    cls=Command,
    epilog=APPLY_EXAMPLES,
    name="apply",
    short_help="Make a mount reload its policy.",
)
@click.argument("mounted", metavar="[MOUNTPOINT|VOLUME.yaml]...", nargs=-1, type=PATH)
@may_be_quiet
def apply(mounted: tuple[Path, ...]) -> None:
    """Make mounts reload the policy that their volume file names; without a name, all of yours.

    Returns when the policy is in force. A wrong policy is refused with everything that is wrong
    (exit code 2), and the last good one stays in force. A mount also reloads its policy when the
    file is saved, and at SIGHUP; this command shows the outcome.
    """
    failures: list[TierfsError] = []
    for mountpoint in _mountpoints(mounted, failures):
        try:
            click.echo(printable(_applied(mountpoint, needed=bool(mounted))))
        except TierfsError as error:
            failures.append(error)
    for failure in failures[:-1]:
        click.echo(message("tierfs", failure), err=True)
    if failures:
        raise failures[-1]


def _mountpoints(given: tuple[Path, ...], failures: list[TierfsError]) -> list[Path]:
    """The mountpoints; an error for each that is not found is added to ``failures``."""
    listed = [mount for mount in mounts() if mount.is_tierfs]
    if not given:
        ours = [mount.path for mount in listed if os.geteuid() in (0, mount.owner)]
        if not ours:
            failures.append(NotMounted("you have no tierfs mount"))
        return ours
    found = []
    for path in given:
        try:
            found.append(_mountpoint(path, listed))
        except NotMounted as error:
            failures.append(error)
    return found


def mountpoint_of(given: Path) -> Path:
    """The mountpoint, given by itself or by a volume file.

    Raises:
        NotMounted: no mount was made of that volume file.
    """
    return _mountpoint(given, [mount for mount in mounts() if mount.is_tierfs])


def _mountpoint(given: Path, listed: list[Mount]) -> Path:
    """The mountpoint itself, or that of a volume file."""
    if not given.is_file():
        return given
    real = os.path.realpath(given)
    for mount in listed:
        if mount.source == real:
            return mount.path
    raise NotMounted(
        f"{given}: no mount was made of such a volume file; name the mountpoint "
        "(a policy file is not taken: a mount has its own, which its volume file names)"
    )


def _applied(mountpoint: Path, *, needed: bool) -> str:
    """The outcome of a reload.

    Raises:
        ConfigError: the policy is wrong.
        UsageError: the mount has no policy, though one is ``needed``.
        NotMounted: the daemon does not answer.
    """
    answer = ask(mountpoint, "policy apply")
    policy = answer["policy"]
    if policy is None and not needed:
        return f"{mountpoint}: no policy"
    if policy is None:
        raise UsageError(
            f"{mountpoint}: the volume file names no policy; add one (policy: FILE), mount again"
        )
    if answer["result"] == "refused":
        kept = f"{mountpoint}: the last good policy stays in force"
        raise ConfigError.of_lines([*answer["problems"], kept])
    if answer["result"] == "unchanged":
        return f"{mountpoint}: {policy['path']} was in force already"
    rules = f"{policy['rules']} rule{'' if policy['rules'] == 1 else 's'}"
    return f"{mountpoint}: {policy['path']} is in force, with {rules}"


# ------------------------------------------------------------------ plan

PLAN_EXAMPLES = """
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
    cls=Command, epilog=PLAN_EXAMPLES, name="plan", short_help="Show what a mount would move now."
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes.")
def plan(mounted: Path, *, as_json: bool) -> None:
    """Show which moves the policy in force calls for now, in files and bytes, and why.

    Nothing is moved. A process at the lowest priority reads the whole index, which delays no
    request, but takes long if no processor is idle. Heads that come back when they are read next
    are not counted.
    """
    with waiting_for("reading the index"):
        planned = ask(mountpoint_of(mounted), "policy plan")
    if as_json:
        click.echo(json.dumps(planned, indent=2))
        return
    for line in [*aligned(_facts(planned)), *_moves(planned), *_waiting(planned)]:
        click.echo(printable(line))


def _facts(plan: dict[str, Any]) -> list[tuple[str, ...]]:
    marks = [format_size(plan[key]) for key in ("high_watermark", "low_watermark")]
    used, capacity = format_size(plan["flash_used"]), format_size(plan["flash_capacity"])
    fullness = "too full" if plan["to_free"] else "not too full"
    return [
        ("policy", plan["policy"] or "none: only manual requests are moved"),
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
    lines = ["", *aligned(rows, numbers=2)]
    coming = sum(move["bytes"] for move in plan["moves"] if move["move"] == "promote")
    room = max(0, plan["high_watermark"] - plan["flash_used"])
    if coming > room:
        free = f"{format_size(room)} is free below the high watermark"
        lines += ["", f"{free}: the rest is promoted when other files leave flash"]
    return lines


def _waiting(plan: dict[str, Any]) -> list[str]:
    """Why misplaced files have not been moved yet."""
    if not plan.get("misplaced"):
        return []
    return [
        "",
        *aligned([("waiting for", "files", "bytes"), *reasons(plan["misplaced"])], numbers=2),
    ]
