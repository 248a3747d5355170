"""``tierfs policy check`` and ``schema``: the meaning of a policy file, and its JSON Schema."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import aligned
from tierfs.common.errors import printable
from tierfs.common.units import format_size
from tierfs.policy.model import Flash, Mover, Policy
from tierfs.policy.tier_policy import load_policy, policy_schema

CHECK_EXAMPLES = """
tierfs policy check /etc/tierfs/policy.yaml
tierfs policy check --quiet new.yaml && mv new.yaml /etc/tierfs/policy.yaml
"""


@click.command(cls=Command, epilog=CHECK_EXAMPLES, name="check", short_help="Check a policy file.")
@click.argument("policy", metavar="FILE", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@may_be_quiet
def check(policy: Path, *, as_json: bool) -> None:
    """Check the policy FILE, and print its meaning, or everything that is wrong (exit code 2).

    Users and groups are looked up on this machine.
    """
    loaded = load_policy(policy)
    if as_json:
        meaning = {name: " ".join(values) for name, *values in summary(loaded)}
        click.echo(json.dumps({"policy": os.fspath(policy), "meaning": meaning}, indent=2))
        return
    click.echo(f"{printable(policy)}: OK")
    for line in aligned(summary(loaded)):
        click.echo(f"  {printable(line)}")


def summary(policy: Policy) -> list[tuple[str, ...]]:
    """The meaning of the policy, name and value."""
    rules = [(f"rule {rule.name}", rule.settings.summary()) for rule in policy.rules]
    return [
        *rules,
        ("all else" if rules else "all files", policy.defaults.summary()),
        ("flash", _flash(policy.flash)),
        ("mover", _mover(policy.mover)),
    ]


def _flash(flash: Flash) -> str:
    marks = f"evict above {flash.high_watermark} down to {flash.low_watermark}"
    if flash.capacity is not None:
        marks = f"{format_size(flash.capacity)} for tierfs, {marks}"
    order = ", ".join(flash.evict_order)
    return f"{marks}, keep {format_size(flash.reserve)} free, classes in order: {order}"


def _mover(mover: Mover) -> str:
    rate = "any rate" if mover.rate is None else f"{format_size(mover.rate)}/s"
    files = "any number of files" if mover.operations is None else f"{mover.operations:,} files/s"
    when = ", ".join(window.text for window in mover.windows) or "always"
    errors = mover.suspend_on_errors
    suspended = "never suspended" if errors is None else f"suspended above {errors:g}% errors"
    return f"{rate}, {files}, {mover.concurrency} at a time, {when}, {suspended}"


SCHEMA_EXAMPLES = """
tierfs policy schema > tier-policy.schema.json
# then, in the first line of a policy, for editors with a YAML language server:
# yaml-language-server: $schema=tier-policy.schema.json
"""


@click.command(
    cls=Command,
    epilog=SCHEMA_EXAMPLES,
    name="schema",
    short_help="Print the JSON Schema for editors.",
)
def schema() -> None:
    """Print the JSON Schema (draft 7) of policy files, for completion and checks in editors."""
    click.echo(json.dumps(policy_schema(), indent=2))
