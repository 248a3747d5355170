"""``tierfs fsck``: what is lost, damaged or leaked on a volume, mounted or not."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, Final, get_args

import click

from tierfs.backup.checking import check_backups
from tierfs.backup.files import COPY
from tierfs.cli.command import PATH, QUIET, Command
from tierfs.cli.messages import TOLD
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import ExitCode, UsageError, printable
from tierfs.daemon.control_client import ask
from tierfs.fs.identity import locked
from tierfs.fsck.check import Finding, Report, check
from tierfs.fsck.kinds import KINDS, Kind, Severity
from tierfs.fsck.repair import repair
from tierfs.metadata.integrity import IntegrityCheck
from tierfs.policy.volume_file import VolumeFile, load_volume_file

EXAMPLES = """
tierfs fsck /etc/tierfs/images.yaml
tierfs fsck --thorough images.yaml
tierfs fsck --data images.yaml
tierfs fsck --repair images.yaml
tierfs fsck --online /mnt/images
tierfs fsck images.yaml --json | jq -r '.findings[] | select(.severity == "loss") | .path'
"""


ONLINE_S: Final = 24 * 3600.0
"""How long an answer may take: disks of a large volume are looked through."""


@click.command(
    cls=Command, epilog=EXAMPLES, name="fsck", short_help="Check a volume, mounted or not."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.option(
    "--online",
    is_flag=True,
    help="Check it while it is mounted, and change nothing; the mountpoint will do as well.",
)
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
@click.option("-q", "--quiet", is_flag=True, help="Print what is wrong, without notes and sums.")
@click.pass_context
def command(
    ctx: click.Context,
    volume_file: Path,
    *,
    online: bool,
    thorough: bool,
    data: bool,
    mend: bool,
    yes: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Check the volume of VOLUME.yaml, which must not be mounted, or with --online must be.

    Of each kind of finding the first ten are printed, with --json or --repair all.

    Exit codes: 0: nothing but notes; 7: something is lost, damaged or leaked; 4: it is mounted;
    with --online 6: it is not.
    """
    _require_sense(online=online, thorough=thorough, data=data, mend=mend, yes=yes, as_json=as_json)
    ctx.meta[QUIET] = quiet
    writer = _Json() if as_json else _Lines(quiet=quiet, most=None if mend else TOLD)
    # JSON is written meanwhile, and --repair asks.
    silent = as_json or (mend and not yes)
    waiting: AbstractContextManager[None] = nullcontext() if silent else waiting_for("checking")
    if online:
        with waiting:
            report = report_of(ask(volume_file, "fsck", seconds=ONLINE_S))
        for finding in report.findings:
            writer.found(finding)
        writer.finish(report, Counter())
        return ExitCode.OK if report.clean else ExitCode.DAMAGE
    settings = load_volume_file(volume_file)
    fixed: Counter[Kind] = Counter()
    with waiting:
        if mend:
            agree = (lambda _counts: True) if yes else _ask
            report, fixed = repair(settings, agree=agree, data=data, listener=writer.found)
        else:
            report = check(settings, thorough=thorough, data=data, listener=writer.found)
        for finding in backup_findings(settings, report):
            report.add(finding)
            writer.found(finding)
    writer.finish(report, fixed)
    return ExitCode.OK if report.clean else ExitCode.DAMAGE


def backup_findings(settings: VolumeFile, report: Report) -> Iterator[Finding]:
    """What is wrong with the backups; they are compared with the index where that can be read."""
    with locked(settings):
        state = None
        if report.complete:
            with closing(IntegrityCheck(settings.index)) as index:
                state = index.feed_state(COPY)
        yield from check_backups(settings, state)


def _require_sense(
    *, online: bool, thorough: bool, data: bool, mend: bool, yes: bool, as_json: bool
) -> None:
    if online and data:
        raise UsageError("a mounted volume compares its bytes by 'tierfs scrub start', not --data")
    if online and (thorough or mend or yes):
        raise UsageError("--online goes with --json alone: unmount the volume for what changes it")
    if mend and thorough:
        raise UsageError("--repair cannot repair what --thorough finds: run one after the other")
    if yes and not mend:
        raise UsageError("--yes is for --repair: give both, or none")
    if mend and as_json and not yes:
        raise UsageError(
            "--repair asks before it changes anything: with --json, give --yes as well"
        )


def _ask(counts: Counter[Kind]) -> bool:
    return click.confirm(f"Repair {counts_line(counts)}?", err=True)


def counts_line(counts: Counter[Kind]) -> str:
    """The number of findings of each kind, in a line, the worst first."""
    return ", ".join(f"{kind.name} {counts[kind]:,}" for kind in KINDS if counts[kind])


class _Lines:
    """A line for each finding as it is found, then the meanings of their kinds, then the sums.

    Of each kind the first ``most`` have a line; ``quiet``: without notes, and nothing follows.
    """

    def __init__(self, *, quiet: bool, most: int | None) -> None:
        self._quiet = quiet
        self._most = most
        self._found: Counter[Kind] = Counter()

    def found(self, finding: Finding) -> None:
        self._found[finding.kind] += 1
        beyond = self._most is not None and self._found[finding.kind] > self._most
        if self._is_told(finding.kind) and not beyond:
            click.echo(line(finding))

    def finish(self, report: Report, fixed: Counter[Kind]) -> None:
        for kind, found in self._found.items():
            count = max(found, report.counts[kind])  # a daemon sends some of them, and counts all
            if self._most is not None and count > self._most and self._is_told(kind):
                more = count - self._most
                click.echo(f"and {more:,} more of {kind.name}: --json lists them")
        if not self._quiet:
            click.echo("\n".join([*repaired(report, fixed), *summary(report)]))

    def _is_told(self, kind: Kind) -> bool:
        return not (self._quiet and kind.severity == "note")


class _Json:
    """One JSON object, written piece by piece: there may be millions of findings."""

    def __init__(self) -> None:
        self._first = True

    def found(self, finding: Finding) -> None:
        between = '{"findings": [\n' if self._first else ",\n"
        click.echo(f"{between}  {json.dumps(record(finding))}", nl=False)
        self._first = False

    def finish(self, report: Report, fixed: Counter[Kind]) -> None:
        opening = '{"findings": [' if self._first else "\n"
        more = {**sums(report), "repaired": {kind.name: count for kind, count in fixed.items()}}
        click.echo(f"{opening}],\n{json.dumps(more, indent=1)[2:]}")


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
    if report.explained:
        lines.append(
            f"{report.explained:,} inodes changed meanwhile; a second look found no fault."
        )
    if (removed or trimmed) and not report.online:
        left = f"{removed:,} unlinked inodes and trims the objects of {trimmed:,} files"
        lines.append(f"The next mount removes {left}, which a killed daemon left.")
    if not report.complete:
        lines.append("The check ended early: there may be more.")
    if report.damage and report.online:
        lines.append("Nothing is recorded: unmount the volume, and check it again.")
    elif report.damage and report.unnoted:
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


def report_of(answer: dict[str, Any]) -> Report:
    """The report that a daemon sent (``tierfs.daemon.checking``)."""
    by_name = {kind.name: kind for kind in KINDS}
    findings = [
        Finding(by_name[name], ino, what, os.fsencode(path))
        for name, ino, what, path in answer.pop("findings")
    ]
    counts = Counter({by_name[name]: count for name, count in answer.pop("counts").items()})
    return Report(**answer, findings=findings, counts=counts)


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
        "online": report.online,
        "explained": report.explained,
        "inodes": report.inodes,
        "files": report.files,
        "objects": report.objects,
        "verified": report.verified,
        "awaiting_removal": report.awaiting_removal,
        "awaiting_trim": report.awaiting_trim,
        "counts": {severity: report.count(severity) for severity in get_args(Severity)},
    }
