"""``tierfs top``: what a mount does now, and for whom."""

from __future__ import annotations

import json
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tierfs.cli.command import PATH, Command
from tierfs.cli.watching import Watcher, by_directory, by_process, since
from tierfs.common.errors import NotMounted, printable
from tierfs.common.units import format_size

Record = dict[str, Any]

INTERVAL_S: Final = 2.0
LEAST_INTERVAL_S: Final = 0.5
MOST_INTERVAL_S: Final = 5.0
"""The daemon forgets who has not asked for ten seconds."""
END: Final = "qQ"
LEAST_ROWS: Final = 3
"""Directories, and processes, that are shown however low the terminal is."""
OTHER_LINES: Final = 15
"""Lines beside those."""
NONE: Final = "-"

EXAMPLES = """
tierfs top /mnt/images
tierfs top --once /mnt/images
tierfs top --json --once /mnt/images | jq .classes.read
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="top",
    short_help="Watch what a mount does, and for whom.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option(
    "--interval",
    type=click.FloatRange(LEAST_INTERVAL_S, MOST_INTERVAL_S),
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Show one interval, and end.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object a line for each interval."
)
def command(mounted: Path, *, interval: float, once: bool, as_json: bool) -> None:
    """Watch requests, latencies, tiers and moves, and which directories and processes wait most.

    The numbers are of the last interval. Press q, or Ctrl-C, to end. "waits" is the time in which
    the threads of a process had a request without a reply: 100 % is one thread that does nothing
    but wait, and "for" is the tier it waits for most. Without a terminal, and with TERM=dumb,
    blocks are printed one after the other.
    """
    console = Console(highlight=False)
    with closing(Watcher(mounted)) as watcher:
        intervals = _intervals(watcher, interval)
        if as_json:
            _print(intervals, lambda found: click.echo(json.dumps(found)), once=once)
        elif once or not console.is_terminal or console.is_dumb_terminal:
            _print(intervals, partial(_block, console, mounted, interval), once=once)
        else:
            _live(console, intervals, mounted, interval)


def _print(intervals: Iterator[Record], show: Callable[[Record], object], *, once: bool) -> None:
    for found in intervals:
        show(found)
        if once:
            return


def _block(console: Console, mounted: Path, interval: float, found: Record) -> None:
    for line in shown(found, mounted, interval, console.width, console.height):
        console.print(line, no_wrap=True, overflow="ellipsis")


def _live(console: Console, intervals: Iterator[Record], mounted: Path, interval: float) -> None:
    """On the whole screen, until q is pressed."""
    with (
        keys(),
        Live(Text("looking ..."), console=console, screen=True, auto_refresh=False) as screen,
    ):
        screen.refresh()
        try:
            for found in intervals:
                lines = shown(found, mounted, interval, console.width, console.height)
                text = Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
                screen.update(text, refresh=True)
        except KeyboardInterrupt:
            return


def _intervals(watcher: Watcher, seconds: float) -> Iterator[Record]:
    """What happened in each interval; ends when q is pressed.

    A daemon that does not answer in time is asked again; one that never did is an error.
    """
    before = watcher.ask()
    due = time.monotonic()
    while True:
        due = max(due + seconds, time.monotonic())
        if pressed(due):
            return
        try:
            after = watcher.ask(rows=True)
        except NotMounted as error:
            yield {"error": str(error)}
            continue
        if after["at"] > before["at"]:  # else another daemon has taken over
            yield _record(before, after)
        before = after


def _record(before: Record, after: Record) -> Record:
    found = since(before, after)
    for name, sums in (("directories", by_directory(after)), ("processes", by_process(after))):
        found[name] = [
            {
                **one,
                "requests": one["requests"] / found["seconds"],
                "bytes": one["bytes"] / found["seconds"],
                "waited": one["waited"] / found["seconds"],
                "by_tier": {
                    tier: waited / found["seconds"] for tier, waited in one["by_tier"].items()
                },
            }
            for one in sums
        ]
    return found | {"attributes_requests": after["attributes_requests"]}


# ------------------------------------------------------------------ keys


@contextmanager
def keys() -> Iterator[None]:
    """A block in which keys arrive one by one, if there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def pressed(until: float) -> bool:
    """Wait until a time of time.monotonic(); True: q was pressed before."""
    if not sys.stdin.isatty():
        time.sleep(max(0.0, until - time.monotonic()))
        return False
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and sys.stdin.read(1) in END:
            return True  # also at the end of the input
    return False


# ------------------------------------------------------------------ what is shown


def shown(found: Record, mounted: Path, interval: float, width: int, height: int) -> list[Text]:
    """The lines of one interval, for a terminal of that size."""
    now = f"{datetime.now().astimezone():%H:%M:%S}, every {interval:g} s"
    room = max(10, width - len("tierfs top  ") - len(now))
    title = f"tierfs top {_fit(printable(mounted), room):<{room}} {now}"
    if "error" in found:
        return [Text(title, style="bold"), Text(printable(found["error"]), style="red")]
    rows = max(LEAST_ROWS, (height - OTHER_LINES) // 2)
    lines = [
        Text(title, style="bold"),
        Text(
            f"{found['requests']:,.0f} requests/s; "
            f"from the metadata cache {_percent(found['answered_from_cache'])}, "
            f"bytes from flash {_percent(found['read_from_flash'])}"
        ),
        Text(""),
        *_classes_beside_tiers(found),
    ]
    if not found["attributes_requests"]:
        return [*lines, Text("processes and directories are not known without the fast path")]
    processes = [(_process(one), one) for one in found["processes"]]
    directories = [(printable(one["directory"]), one) for one in found["directories"]]
    for title, waiting in (("process", processes), ("directory", directories)):
        heading = f"{title:<{width - 36}}{'per s':>9}{'bytes/s':>10}{'waits':>8}  {'for':<7}"
        lines += [Text(heading, style="reverse")]
        for name, one in waiting[:rows]:
            lines.append(_waiting(name, one, width))
        lines += [Text("")] * (rows - len(waiting))
    return lines


def _classes_beside_tiers(found: Record) -> list[Text]:
    tiers, moves = found["tiers"], found["moves"]
    beside = [
        f"{'tier':<6}{'read/s':>11}{'written/s':>12}",
        *(
            f"{name:<6}{_size(one['read_bytes']):>11}{_size(one['written_bytes']):>12}"
            for name, one in tiers.items()
        ),
        "",
        f"moves {moves['under_way']:,} under way, {moves['waiting']:,} waiting",
        f"      {_size(moves['copied_bytes'])}/s copied",
        *[""] * 3,
    ]
    left = [f"{'request':<11}{'per s':>9}{'p50':>9}{'p99':>9}"]
    left += [
        f"{name:<11}{one['requests']:>9,.0f}{_time(one['p50']):>9}{_time(one['p99']):>9}"
        for name, one in found["classes"].items()
    ]
    return [
        Text(f"{first:<41}{second}", style="reverse" if number == 0 else "")
        for number, (first, second) in enumerate(zip(left, beside, strict=False))
    ]


def _waiting(name: str, one: Record, width: int) -> Text:
    tier = max(one["by_tier"], key=one["by_tier"].__getitem__, default=NONE)
    room = width - 36
    shown = f"{one['requests']:>9,.0f}{_size(one['bytes']):>10}{one['waited']:>7.0%}  "
    line = Text(f"{_fit(name, room - 1):<{room}}{shown}")
    line.append(f"{tier:<7}", style={"disk": "yellow", "flash": "green"}.get(tier, ""))
    return line


def _process(one: Record) -> str:
    numbers = one["processes"]
    name = printable(one["name"])
    if len(numbers) == 1:
        return f"{name} ({numbers[0]})"
    return f"{name}, {len(numbers)} processes" if numbers else name


def _fit(text: str, room: int) -> str:
    """The end of a text says more than its beginning, if it is a path."""
    return text if len(text) <= room else f"...{text[len(text) - room + 3 :]}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1%}"


def _size(nbytes: float) -> str:
    return format_size(round(nbytes)) if nbytes >= 1 else "0"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 1e-3:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
