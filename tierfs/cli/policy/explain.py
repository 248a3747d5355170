"""``tierfs policy explain``: which rule holds for a file, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tierfs.base.durations import SECOND, parse_duration
from tierfs.base.errors import UsageError
from tierfs.base.extents import WHOLE_FILE
from tierfs.cli.policy.local_facts import Assumed, local_facts
from tierfs.cli.status import aligned
from tierfs.cli.verb import Verb
from tierfs.policy.explain import Explanation, RuleReport, explain
from tierfs.policy.problems import printable
from tierfs.policy.settings import Settings
from tierfs.policy.tier_policy import Policy, load_policy

OPEN_NOTE = (
    "open: how often and when a file was read is not known here, so the rule is passed over; "
    "--idle and --reads assume it"
)

EXAMPLES = """
tierfs policy explain --policy policy.yaml /mnt/images/screens/2026-07/plate1.tif
tierfs policy explain --policy policy.yaml --idle 40d --json /mnt/images/old/*.tif
tierfs policy explain --policy policy.yaml --root /data/images /data/images/a.tif
"""


class DurationType(click.ParamType[int]):
    """A length of time with a unit, in nanoseconds."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``7d`` in nanoseconds; click shows what is wrong with a bad one."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(
    cls=Verb,
    epilog=EXAMPLES,
    name="explain",
    short_help="Say which rule holds for a file, and why.",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=bytes)
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="The policy.",
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True, path_type=bytes),
    help="Where the policy's paths start.  [default: the tierfs mount of the file, else /]",
)
@click.option(
    "--idle", type=DurationType(), metavar="TIME", help="Assume it was last read so long ago."
)
@click.option("--reads", type=click.IntRange(0), metavar="N", help="Assume so many reads lately.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; bytes and seconds.")
def command(
    paths: tuple[bytes, ...],
    *,
    policy_file: Path,
    root: bytes | None,
    idle: int | None,
    reads: int | None,
    as_json: bool,
) -> None:
    """Say which rule of a policy holds for each file, why the ones before it do not, what follows.

    The facts are the file's own: any file will do, on a mount or not.
    """
    policy = load_policy(policy_file)
    found: list[tuple[bytes, Explanation]] = []
    failures: list[str] = []
    for path in paths:
        try:
            found.append((path, _explained(policy, path, root, Assumed(idle, reads))))
        except UsageError as error:
            failures.append(str(error))
    if as_json:
        click.echo(json.dumps([_as_json(*one) for one in found], indent=2))
    elif found:
        click.echo(_told(found))
    if failures:
        raise UsageError("\n".join(failures))


def _explained(policy: Policy, path: bytes, root: bytes | None, assumed: Assumed) -> Explanation:
    try:
        return explain(policy, local_facts(path, root, assumed))
    except OSError as error:
        raise UsageError(f"{os.fsdecode(path)}: {error.strerror}; check the name") from error


def _told(found: list[tuple[bytes, Explanation]]) -> str:
    lines = [line for path, explanation in found for line in _lines(path, explanation)]
    if any(report.verdict == "open" for _, one in found for report in one.rules):
        lines += ["", OPEN_NOTE]
    return "\n".join(lines)


def _lines(path: bytes, explanation: Explanation) -> Iterator[str]:
    yield printable(os.fsdecode(path))
    decision = explanation.decision
    rows = [(f"  {report.rule}", _verdict(report)) for report in explanation.rules]
    end = (f"  => {decision.rule or 'the defaults'}", decision.settings.told())
    yield from aligned([*rows, end])


def _verdict(report: RuleReport) -> str:
    reasons = "; ".join(finding.told() for finding in report.findings)
    return f"{report.verdict}: {reasons}" if reasons else report.verdict


def _as_json(path: bytes, explanation: Explanation) -> dict[str, Any]:
    decision = explanation.decision
    return {
        "path": os.fsdecode(path),
        "rule": decision.rule,
        "settings": _settings(decision.settings),
        "rules": [asdict(report) for report in explanation.rules],
    }


def _settings(settings: Settings) -> dict[str, Any]:
    promote = settings.promote
    return {
        "head": _prefix(settings.head),
        "pin": settings.pin,
        "mirror": settings.mirror,
        "promote": promote
        and {
            "reads": promote.reads,
            "within_s": promote.within / SECOND,
            "to": _prefix(promote.to),
        },
        "evict": settings.evict,
        "class": settings.eviction_class,
    }


def _prefix(prefix: int) -> int | str:
    return "all" if prefix == WHOLE_FILE else prefix
