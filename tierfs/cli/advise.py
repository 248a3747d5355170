"""``tierfs advise``: what to change in a tier policy, by the accesses that a mount recorded."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from tierfs.cli.command import FILE, PATH, SIZE, Command, disk_options
from tierfs.cli.first_reads import first_read_lines
from tierfs.cli.messages import aligned, damaged_lines
from tierfs.cli.progress import progress_bar
from tierfs.common.errors import ConfigError, NotMounted, UsageError, printable
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import volume_file_of
from tierfs.policy.volume_file import VolumeFile, load_volume_file
from tierfs.tiering.access_log import Recording
from tierfs.tiering.replay.advice import (
    Change,
    Disk,
    PolicyText,
    Proposal,
    head_rule,
    propose,
)
from tierfs.tiering.replay.flash import Ledger
from tierfs.tiering.replay.simulator import Played, SimulatedFlash, beginning_of, play

EMPTY: Final = "version: 1\n"
"""The policy that is compared with where none is in force."""

NONE: Final = "no head is proposed: the policy suits these reads, or they are few yet"

EXAMPLES = """
tierfs advise images.yaml
tierfs advise images.yaml --log /var/log/tierfs/images.access --flash 4TiB
tierfs advise images.yaml --output better.yaml && tierfs policy check better.yaml
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="advise",
    short_help="Propose a better tier policy from recorded accesses.",
)
@click.argument("volume", metavar="VOLUME.yaml|MOUNTPOINT", type=PATH)
@click.option(
    "--log", metavar="ACCESS-LOG", type=FILE, help="The log.  [default: access_log of VOLUME.yaml]"
)
@click.option(
    "--flash",
    type=SIZE,
    metavar="SIZE",
    help="Capacity of flash.  [default: that of the volume, else what the log says]",
)
@disk_options
@click.option(
    "-o", "--output", type=FILE, metavar="NEW.yaml", help="Write the proposed policy to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; bytes and seconds.")
def command(
    volume: Path,
    *,
    log: Path | None,
    flash: int | None,
    disk_latency: float,
    disk_rate: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Propose changes of the tier policy that would have spared readers waiting for disk.

    Of a mount that is up, how far into files is read first is shown, and heads are proposed for the
    extensions whose first reads go further, or never so far.
    The accesses that a mount recorded (section access_log of VOLUME.yaml) are replayed with these
    and other sizes of the head, other watermarks, and pins of the directories whose readers waited
    most; what gains is proposed, as a diff. Without such a log heads are proposed alone.
    Nothing is moved, and no file but --output is written.
    The gain is one of these accesses: record a time that is typical of those to come.
    """
    settings = load_volume_file(volume_file_of(volume))
    heads = _heads_of(volume)
    log = _log(settings, log, heads)
    written = _policy_of(settings)
    rules = [head_rule(one["extension"], one["head"]) for one in heads if one["proposed"]]
    if log is None:
        advice = _by_heads(written, rules)
    else:
        capacity = flash or _capacity(settings, Recording(log))
        disk = Disk(disk_latency / 1000, disk_rate)
        advice = _by_replay(Recording(log), written, rules, capacity, disk)
    name = os.fspath(written.path)
    diff = list(
        difflib.unified_diff(
            written.text.splitlines(keepends=True),
            advice.policy.text.splitlines(keepends=True),
            name,
            f"{name} (proposed)",
        )
    )
    if output is not None and diff:
        try:
            output.write_text(advice.policy.text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{output}: {error.strerror}") from None
    if as_json:
        told = {**advice.record, "first_reads": heads, "diff": "".join(diff)}
        click.echo(json.dumps(told, indent=2))
        return
    for line in [*first_read_lines(heads), *advice.lines]:
        click.echo(line)
    if diff:
        click.echo("\n" + "".join(diff), nl=False)
        if settings.policy is None:
            click.echo(f"\nput it into a file, and add policy: FILE to {printable(settings.path)}")
    elif output is not None:
        click.echo(f"{printable(output)} is not written: there is nothing to propose")


class _Advice(NamedTuple):
    """What is proposed, and what is said of it."""

    policy: PolicyText
    lines: list[str]
    record: dict[str, Any]


def _heads_of(volume: Path) -> list[dict[str, Any]]:
    """What a mount counted of first reads, by extension; nothing where none is up."""
    try:
        found: list[dict[str, Any]] = ask(volume, "heads")["extensions"]
    except NotMounted:
        return []
    return found


def _by_heads(written: PolicyText, rules: list[Change]) -> _Advice:
    """The rules by themselves, but for those that contradict the policy."""
    policy, taken = written, list[Change]()
    written.parsed()
    for rule in rules:
        changed = replace(policy, text=rule.edit(policy.text))
        with suppress(ConfigError):  # such as a head that a promotion does not reach
            changed.parsed()
            policy, taken = changed, [*taken, rule]
    lines = [rule.title for rule in taken] or [NONE]
    changes = [{"kind": rule.kind, "what": rule.title} for rule in taken]
    return _Advice(policy, lines, {"changes": changes})


def _by_replay(
    recording: Recording, written: PolicyText, rules: list[Change], capacity: int, disk: Disk
) -> _Advice:
    with progress_bar("{task.completed} of {task.total} replays") as bar:
        task = bar.add_task("searching", total=None, done="")

        def progress(done: int, most: int) -> None:
            bar.update(task, completed=done, total=most)

        proposal = propose(recording, written, capacity, disk, progress, rules)
        bar.update(task, description="replaying the whole log", total=None)
        flashes = [
            SimulatedFlash(policy.parsed(), capacity) for policy in (written, proposal.policy)
        ]
        played = play(recording, flashes)
    for line in damaged_lines(recording.damaged, recording.damaged_count):
        click.echo(line, err=True)
    if not played.uses:
        raise UsageError(f"{recording.parts[-1]} has no access yet; advise when there are some")
    ledgers = flashes[0].ledger, flashes[1].ledger
    return _Advice(
        proposal.policy,
        list(_lines(proposal, played, ledgers, disk, capacity)),
        _record(proposal, played, ledgers, disk, capacity),
    )


def _log(
    settings: VolumeFile, given: Path | None, heads: Sequence[Mapping[str, Any]]
) -> Path | None:
    if given is not None:
        return given
    if settings.access_log is None:
        if heads:
            return None
        raise UsageError(
            f"{settings.path} has no access_log, so no accesses are recorded; add"
            " access_log: {file: FILE}, mount, and ask again in a few days, or name --log FILE;"
            " without it heads are proposed by first reads, of which no mount has counted any"
        )
    return settings.access_log.file


def _policy_of(settings: VolumeFile) -> PolicyText:
    path = settings.policy
    if path is None:
        return PolicyText(settings.path.with_name("policy.yaml"), EMPTY, settings.head)
    try:
        return PolicyText(path, path.read_text(encoding="utf-8"), settings.head)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {settings.path} names it") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8; see: tierfs policy check {path}") from None


def _capacity(settings: VolumeFile, recording: Recording) -> int:
    try:
        facts = os.statvfs(settings.flash)
    except OSError as error:
        beginning = beginning_of(recording)
        if beginning is not None and beginning.flash:
            return beginning.flash
        message = f"{settings.path}: {settings.flash}: {error.strerror}; name --flash SIZE"
        raise UsageError(message) from None
    return facts.f_blocks * facts.f_frsize


def _lines(
    proposal: Proposal, played: Played, ledgers: tuple[Ledger, Ledger], disk: Disk, capacity: int
) -> Iterable[str]:
    time = format_duration(played.last - played.first)
    yield f"{ledgers[0].reads:,} reads in {time}, {format_size(capacity)} of flash"
    if proposal.share < 1:
        yield f"searched with {100 * proposal.share:.2g} % of the files, compared with all"
    yield ""
    shown = ledgers if proposal.changes else ledgers[:1]
    rows = [
        ("", *("now", "proposed")[: len(shown)]),
        ("waiting for disk", *(_seconds(disk.waited(one)) for one in shown)),
        ("hits, % of reads", *(f"{100 * one.hit_rate:.1f}" for one in shown)),
        ("hits, % of bytes", *(f"{100 * one.byte_hit_rate:.1f}" for one in shown)),
        ("flash used, peak", *(format_size(one.peak) for one in shown)),
        ("moved", *(format_size(one.moved) for one in shown)),
    ]
    yield from aligned(rows, numbers=len(shown))
    yield ""
    if not proposal.changes:
        yield f"none of {proposal.tried} changes gains much: the policy suits these accesses"
    for change, share in proposal.changes:
        yield f"{change.title}: {100 * share:.0f} % less waiting"


def _seconds(seconds: float) -> str:
    return format_duration(round(seconds * 10) * SECOND // 10)


def _record(
    proposal: Proposal, played: Played, ledgers: tuple[Ledger, Ledger], disk: Disk, capacity: int
) -> dict[str, Any]:
    now, then = (
        {
            "waiting_s": disk.waited(one),
            "hit_rate": one.hit_rate,
            "byte_hit_rate": one.byte_hit_rate,
            "peak": one.peak,
            "moved": one.moved,
        }
        for one in ledgers
    )
    return {
        "uses": played.uses,
        "seconds": (played.last - played.first) / SECOND,
        "flash": capacity,
        "share_of_files": proposal.share,
        "replays": proposal.tried,
        "now": now,
        "proposed": then,
        "changes": [
            {"kind": change.kind, "what": change.title, "waiting_less": share}
            for change, share in proposal.changes
        ],
    }
