"""``tierfs fsck``: what is lost, damaged or leaked on a volume that is not mounted."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import click

from tierfs.cli.command import PATH, Command
from tierfs.common.errors import ExitCode, UsageError
from tierfs.common.text import printable
from tierfs.fsck.check import Finding, Report, check
from tierfs.fsck.kinds import KINDS, Kind, Severity
from tierfs.fsck.repair import repair
from tierfs.policy.volume_file import load_volume_file

EXAMPLES = """
tierfs fsck /etc/tierfs/images.yaml
tierfs fsck --thorough images.yaml
tierfs fsck --data images.yaml
tierfs fsck --repair images.yaml
tierfs fsck images.yaml --json | jq -r '.findings[] | select(.severity == "loss") | .path'
"""


@click.command(
    cls=Command, epilog=EXAMPLES, name="fsck", short_help="Check a volume that is not mounted."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.option(
    "--thorough",
    is_flag=True,
    help="Compare mirrored heads byte by byte, and SQLite's tables with its indexes.",
)
@click.option(
    "--data", is_flag=True, help="Read all bytes that have checksums, and compare them with these."
)
@click.option(
    "--repair/-n",
    "mend",
    default=False,
    help="Repair what can be repaired without loss; -n, the default, changes nothing.",
)
@click.option("-y", "--yes", is_flag=True, help="Repair without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    volume_file: Path, *, thorough: bool, data: bool, mend: bool, yes: bool, as_json: bool
) -> int:
    """Check the volume of VOLUME.yaml, which must not be mounted.

    Exit codes: 0: nothing but notes; 7: something is lost, damaged or leaked; 4: it is mounted.
    """
    _require_sense(thorough=thorough, mend=mend, yes=yes, as_json=as_json)
    settings = load_volume_file(volume_file)
    writer = _Json() if as_json else _Lines()
    if mend:
        agree = _agreed if yes else _ask
        report, fixed = repair(settings, agree=agree, data=data, listener=writer.found)
    else:
        report = check(settings, thorough=thorough, data=data, listener=writer.found)
        fixed = Counter()
    writer.finish(report, fixed)
    return ExitCode.OK if report.clean else ExitCode.DAMAGE


def _require_sense(*, thorough: bool, mend: bool, yes: bool, as_json: bool) -> None:
    if mend and thorough:
        raise UsageError("--repair cannot repair what --thorough finds: run one after the other")
    if yes and not mend:
        raise UsageError("--yes is for --repair: give both, or none")
    if mend and as_json and not yes:
        raise UsageError(
            "--repair asks before it changes anything: with --json, give --yes as well"
        )


def _agreed(_counts: Counter[Kind]) -> bool:
    return True


def _ask(counts: Counter[Kind]) -> bool:
    return click.confirm(f"Repair {counts_line(counts)}?", err=True)


def counts_line(counts: Counter[Kind]) -> str:
    """The number of findings of each kind, in a line, the worst first."""
    return ", ".join(f"{kind.name} {counts[kind]:,}" for kind in KINDS if counts[kind])


class _Lines:
    """A line for each finding as it is found, then the meanings of their kinds, then the sums."""

    def found(self, finding: Finding) -> None:
        click.echo(line(finding))

    def finish(self, report: Report, fixed: Counter[Kind]) -> None:
        for told in [*repaired(report, fixed), *summary(report)]:
            click.echo(told)


class _Json:
    """One JSON object, written piece by piece: there may be millions of findings."""

    def __init__(self) -> None:
        self._first = True

    def found(self, finding: Finding) -> None:
        click.echo(f"{self._between()}  {json.dumps(record(finding))}", nl=False)
        self._first = False

    def finish(self, report: Report, fixed: Counter[Kind]) -> None:
        opening = '{"findings": [' if self._first else "\n"
        more = {**sums(report), "repaired": {kind.name: count for kind, count in fixed.items()}}
        click.echo(f"{opening}],\n{json.dumps(more, indent=1)[2:]}")

    def _between(self) -> str:
        return '{"findings": [\n' if self._first else ",\n"


def line(finding: Finding) -> str:
    """A finding for people."""
    kind, ino, what, path, _ = finding
    inode = f"inode {ino}" if ino else ""
    where = f"{printable(path)} ({inode})" if path and ino else printable(path) or inode
    return f"{kind.severity}, {kind.name}: {where}{': ' if where else ''}{printable(what)}"


def repaired(report: Report, fixed: Counter[Kind]) -> list[str]:
    """What was repaired, and what the check after the repair found, for people."""
    if not fixed:
        return []
    left = [line(finding) for finding in report.findings]
    more = sum(report.counts.values()) - len(left)
    return [
        "",
        f"Repaired: {counts_line(fixed)}.",
        "Still there:" if left else "Checked again:",
        *left,
        *([f"and {more:,} more"] if more else []),
    ]


def summary(report: Report) -> list[str]:
    """The meanings of the kinds that were found, and the sums, for people."""
    lines = []
    for kind in KINDS:
        if count := report.counts[kind]:
            lines += ["", f"{kind.name} ({count:,}): {kind.meaning}."]
            lines += [f"  What to do: {kind.advice}.", ""]
    seen = f"{report.inodes:,} inodes, {report.files:,} files, {report.objects:,} objects"
    verified = f", {report.verified:,} compared with their checksums" if report.verified else ""
    lines.append(f"Volume {report.volume}: {seen}{verified}")
    removed, trimmed = report.awaiting_removal, report.awaiting_trim
    if removed or trimmed:
        left = f"{removed:,} unlinked inodes and trims the objects of {trimmed:,} files"
        lines.append(f"The next mount removes {left}, which a killed daemon left.")
    if not report.complete:
        lines.append("The check ended early: there may be more.")
    if report.damage and report.unnoted:
        lines.append(
            f"The damage could not be recorded ({report.unnoted}), so a mount will not refuse."
        )
    elif report.damage:
        lines.append(
            "It can be mounted only with the option 'force', until a check finds no damage."
        )
    found = [
        f"{severity} {report.count(severity):,}"
        for severity in get_args(Severity)
        if report.count(severity)
    ]
    return [*lines, f"Found: {', '.join(found)}." if found else "Nothing is wrong."]


def record(finding: Finding) -> dict[str, Any]:
    """A finding for JSON."""
    return {
        "severity": finding.kind.severity,
        "kind": finding.kind.name,
        "inode": finding.ino or None,
        "path": os.fsdecode(finding.path) or None,
        "what": finding.what,
        "meaning": finding.kind.meaning,
        "advice": finding.kind.advice,
    }


def sums(report: Report) -> dict[str, Any]:
    """Everything but the findings, for JSON."""
    return {
        "volume": report.volume,
        "clean": report.clean,
        "complete": report.complete,
        "inodes": report.inodes,
        "files": report.files,
        "objects": report.objects,
        "verified": report.verified,
        "awaiting_removal": report.awaiting_removal,
        "awaiting_trim": report.awaiting_trim,
        "counts": {severity: report.count(severity) for severity in get_args(Severity)},
    }
