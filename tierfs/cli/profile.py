"""``tierfs profile``: why a job is slow: who waited for which tier, where, and what would help."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any, Final, NamedTuple

import click

from tierfs.cli.command import DURATION, PATH, Command
from tierfs.cli.messages import aligned, counted
from tierfs.cli.watching import UNKNOWN, Watcher, by_directory, by_process, summed
from tierfs.common.errors import NotMounted, UsageError, printable
from tierfs.common.units import SECOND, format_size

Record = dict[str, Any]

RENEW_S: Final = 1.0
"""How often the daemon is asked, which then takes what the router has attributed."""
PATIENCE_S: Final = 8.0
"""How long it asks for the result: after two more the daemon has forgotten it."""
DEFAULT_S: Final = 60.0
SHOWN: Final = 10
"""Rows of a table."""
MOST_OF_IT: Final = 0.8
"""A directory is named that has so much of the waiting below it, the deepest one."""
TIERS: Final = ("disk", "flash", "index", "memory")
SEVERAL: Final = 1.25
"""Threads that waited at a time, on the average, beyond which they are named."""
DAEMON: Final = frozenset({"promote", "demote", "mirror"})
"""What the daemon's own process waits for: nobody waits for these moves."""

EXAMPLES = """
tierfs profile /mnt/images --for 60s
tierfs profile /mnt/images -- python train.py
tierfs profile /mnt/images --for 10m --json | jq .promotions
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="profile",
    short_help="Find out which tier programs wait for, and where.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.argument("program", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--for",
    "span",
    type=DURATION,
    metavar="DURATION",
    help=f"How long to record; {DEFAULT_S:g}s if no COMMAND is given, else until that ends.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; seconds and bytes.")
def command(mounted: Path, program: tuple[str, ...], *, span: int | None, as_json: bool) -> int:
    """Record a span, then tell which processes waited for which tier, where and how long.

    With a COMMAND only the processes of its session count; it is run in one of its own, and its
    exit code is that of this command. Ctrl-C ends the recording early, or the COMMAND.

    A thread waits while it has a request at tierfs without a reply; requests at the same time count
    once. What the kernel answers from its own caches never reaches tierfs.
    """
    recorded = record(Watcher(mounted), program, span)
    shown = report(recorded)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    else:
        for line in lines(shown, mounted):
            click.echo(line)
    return recorded.status


class Recorded(NamedTuple):
    """A span that was watched."""

    answer: Record
    seconds: float
    command: str | None
    session: int
    """Of the processes that count; 0: all do."""
    status: int
    """The exit code of the command."""
    interrupted: bool
    """Another daemon has taken over: what was before is not known."""


# ------------------------------------------------------------------ recording


def record(watcher: Watcher, program: tuple[str, ...], span: int | None) -> Recorded:
    """Watch for ``span`` nanoseconds, or until the program ends.

    Raises:
        NotMounted: no daemon answers, at the beginning or the end.
        UsageError: the program cannot be run.
    """
    watcher.ask()
    began = time.monotonic()
    if not program:
        click.echo("recording; Ctrl-C ends it early", err=True)
        until = began + (DEFAULT_S if span is None else span / SECOND)
        with suppress(KeyboardInterrupt):
            while (left := until - time.monotonic()) > 0:
                time.sleep(min(RENEW_S, left))
                _renew(watcher)
        return _ended(watcher, began, None, 0)
    until = math.inf if span is None else began + span / SECOND
    with _started(program) as process:
        while process.poll() is None and (left := until - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(RENEW_S, left))
            _renew(watcher)
        recorded = _ended(watcher, began, program[0], process.pid)
    code = process.returncode
    return recorded._replace(status=128 - code if code < 0 else code)


def _renew(watcher: Watcher) -> None:
    """The daemon may be busy, or another may take over: the recording is not over then."""
    with suppress(NotMounted):
        watcher.ask()


def _ended(watcher: Watcher, began: float, program: str | None, session: int) -> Recorded:
    now = time.monotonic()
    while True:
        try:
            answer = watcher.ask(rows=True, files=True, session=session, end=True)
        except NotMounted:
            if time.monotonic() > now + PATIENCE_S:
                raise
            time.sleep(RENEW_S)
        else:
            return Recorded(answer, now - began, program, session, 0, watcher.interrupted)


@contextmanager
def _started(program: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, to which Ctrl-C and SIGTERM are passed on; waits for it.

    Raises:
        UsageError: it cannot be run.
    """
    try:
        process = subprocess.Popen(program, start_new_session=True)
    except OSError as error:
        raise UsageError(f"{program[0]}: {error.strerror}") from error

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield process
    finally:
        process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


# ------------------------------------------------------------------ what it means


def report(recorded: Recorded) -> Record:
    """What was recorded, for JSON: seconds, bytes and counts."""
    known = recorded.answer["processes"]
    session = recorded.session

    def counts(row: Record) -> bool:
        return not session or known.get(str(row["process"]), {}).get("session") == session

    everything = recorded.answer["rows"]
    rows = [row for row in everything if counts(row)]
    asked = [row for row in rows if row["request"] not in DAEMON]
    readers = [
        known[str(process)]
        for process in {row["process"] for row in asked if row["tier"] == "disk"}
        if str(process) in known
    ]
    lived = sum(one["disk_lived"] for one in readers)
    mine = {**recorded.answer, "rows": rows}
    flash = [row for row in everything if (row["request"], row["tier"]) == ("read", "flash")]
    flash_reads = sum(row["requests"] for row in flash)
    flash_read = sum(row["seconds"] for row in flash) / flash_reads if flash_reads else None
    disk_reads = [row for row in asked if (row["request"], row["tier"]) == ("read", "disk")]
    return {
        "seconds": recorded.seconds,
        "command": recorded.command,
        "interrupted": recorded.interrupted,
        "attributes_requests": recorded.answer["attributes_requests"],
        "waited": sum(row["waited"] for row in asked),
        "tiers": {
            tier: {key: one[key] for key in ("requests", "bytes", "waited")}
            for tier, one in summed(asked, lambda row: row["tier"]).items()
        },
        "disk_reads": {
            "waited": sum(row["waited"] for row in disk_reads),
            "names": [one["name"] for one in by_process({**mine, "rows": disk_reads})],
            "processes": len(readers),
            "threads": sum(one["disk_threads"] for one in readers),
            "at_a_time": max(1.0, lived / recorded.seconds),
        },
        "flash_read": flash_read,
        "processes": by_process(mine),
        "directories": by_directory(mine),
        "promotions": promotions(recorded.answer["files"], flash_read or 0.0),
        "untold_reads": recorded.answer["untold_reads"],
    }


def promotions(files: list[Record], flash_read: float) -> list[Record]:
    """Directories whose files were read from disk; what promoting these files would have saved.

    The deepest directory that has most of the waiting below it, then those that waited longest.
    ``saves``: the seconds waited, less ``flash_read`` for each of the reads.
    """
    below: defaultdict[PurePosixPath, Record] = defaultdict(
        lambda: {"files": 0, "bytes": 0, "requests": 0, "waited": 0.0}
    )
    for one in files:
        path = PurePosixPath(one["directory"])
        for above in (path, *path.parents):
            for key in ("files", "bytes", "requests", "waited"):
                below[above][key] += one[key]
    whole = below[PurePosixPath("/")]["waited"] if below else 0.0
    most = [path for path, one in below.items() if whole and one["waited"] >= MOST_OF_IT * whole]
    own = sorted(
        (PurePosixPath(one["directory"]) for one in files), key=lambda path: -below[path]["waited"]
    )
    named = dict.fromkeys([*sorted(most, key=lambda path: -len(path.parts))[:1], *own])
    found = [
        {
            "directory": str(path),
            **below[path],
            "saves": max(0.0, below[path]["waited"] - below[path]["requests"] * flash_read),
        }
        for path in named
    ]
    return [one for one in found if one["saves"] > 0]


# ------------------------------------------------------------------ for people


def lines(shown: Record, mounted: Path) -> list[str]:
    """The report as text."""
    where = printable(mounted)
    if not shown["attributes_requests"]:
        return [f"{where}: without the fast path nobody knows who waits; see fast_path.enabled"]
    requests = counted(
        sum(one["requests"] for one in shown["tiers"].values()), "request", "requests"
    )
    span, waited = _time(shown["seconds"]), _time(shown["waited"])
    told = [f"recorded {span} of {where}: {requests}, for which threads waited {waited} in all"]
    if shown["interrupted"]:
        told.append("the daemon was replaced meanwhile: what was before is not included")
    if not shown["tiers"]:
        return told
    told += ["", *_table("waited for", shown["tiers"].items(), _numbers)]
    processes = [(_process(one), one) for one in shown["processes"]]
    directories = [(printable(one["directory"]), one) for one in shown["directories"]]
    told += ["", *_table("process", processes, _by_tier, TIERS)]
    told += ["", *_table("directory", directories, _by_tier, TIERS)]
    return [*told, "", *conclusions(shown)]


def conclusions(shown: Record) -> list[str]:
    """What was lost to disk reads, and what promoting files would have saved."""
    waited, at_a_time = (shown["disk_reads"][key] for key in ("waited", "at_a_time"))
    names = [Path(shown["command"]).name] if shown["command"] else shown["disk_reads"]["names"]
    who = printable(names[0]) if len(names) == 1 and names[0] != UNKNOWN else "the programs"
    if not waited:
        return [f"{who} waited for no disk read"]
    lost = f"{who} lost {_time(waited / at_a_time)} of {_time(shown['seconds'])} to disk reads"
    each = f", each of {at_a_time:.1f} threads at a time" if at_a_time > SEVERAL else ""
    told = [lost + each]
    for one in shown["promotions"][:1]:
        what = f"{format_size(one['bytes'])} ({counted(one['files'], 'file', 'files')})"
        saves = _time(one["saves"] / at_a_time)
        told.append(f"promoting {what} below {printable(one['directory'])} would save {saves}")
        if shown["flash_read"] is None:
            told.append("(if flash took no time: nothing was read from it meanwhile)")
    if shown["untold_reads"]:
        told.append(f"{shown['untold_reads']:,} reads were of more files than are remembered")
    return told


def _table(
    title: str,
    rows: Any,  # noqa: ANN401 - pairs of a name and its sums
    columns: Callable[[Record], tuple[str, ...]],
    tiers: tuple[str, ...] = (),
) -> list[str]:
    rows = list(rows)
    heading = (title, "waited", *tiers, "requests", "bytes")
    table = [heading, *((name, *columns(one)) for name, one in rows[:SHOWN])]
    more = [f"and {len(rows) - SHOWN:,} more; see --json"] if len(rows) > SHOWN else []
    return aligned(table, numbers=len(heading) - 1) + more


def _numbers(one: Record) -> tuple[str, ...]:
    return _time(one["waited"]), f"{one['requests']:,}", format_size(one["bytes"])


def _by_tier(one: Record) -> tuple[str, ...]:
    waited, *rest = _numbers(one)
    return waited, *(_time(one["by_tier"].get(tier, 0.0)) for tier in TIERS), *rest


def _process(one: Record) -> str:
    numbers = one["processes"]
    if len(numbers) == 1:
        return f"{printable(one['name'])} ({numbers[0]})"
    return f"{printable(one['name'])}, {len(numbers)} processes" if numbers else one["name"]


def _time(seconds: float) -> str:
    """As short as it says enough."""
    if not seconds:
        return "0"
    if seconds >= 90:  # noqa: PLR2004 - a minute and a half
        return f"{seconds / 60:,.1f} min"
    return f"{seconds:.1f} s" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"  # noqa: PLR2004 - a tenth
