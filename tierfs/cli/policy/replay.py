"""``tierfs policy replay``: what another policy would have done with recorded reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import FILE, Command, SizeType
from tierfs.cli.messages import aligned, damaged_lines
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import UsageError
from tierfs.common.units import SECOND, format_duration, format_size
from tierfs.policy.tier_policy import DEFAULT_HEAD, load_policy
from tierfs.policy.volume_file import VolumeFile, load_volume_file
from tierfs.tiering.access_log import Beginning, Recording
from tierfs.tiering.replay.flash import Ledger
from tierfs.tiering.replay.simulator import Played, SimulatedFlash, beginning_of, play

EXAMPLES = """
tierfs policy replay /var/log/tierfs/images.access --policy new.yaml --volume images.yaml
tierfs policy replay images.access --policy new.yaml --against policy.yaml --flash 2TiB
tierfs policy replay images.access --policy new.yaml --json | jq .difference
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """The policies, the new one first; bytes of flash, and of a head if a policy has none."""

    policies: tuple[Path, ...]
    flash: int
    head: int


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="replay",
    short_help="Play an access log through another policy.",
)
@click.argument("access_log", metavar="ACCESS-LOG", type=FILE)
@click.option(
    "--policy", "new", metavar="NEW.yaml", type=FILE, required=True, help="The policy to try."
)
@click.option("--against", metavar="OLD.yaml", type=FILE, help="The policy to compare it with.")
@click.option(
    "--volume",
    metavar="VOLUME.yaml",
    type=FILE,
    help="Take the policy in force, the head and the size of flash from this volume file.",
)
@click.option(
    "--flash",
    type=SizeType(),
    metavar="SIZE",
    help="Capacity of flash.  [default: that of --volume, else what the log says]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; bytes and seconds.")
def command(
    access_log: Path,
    *,
    new: Path,
    against: Path | None,
    volume: Path | None,
    flash: int | None,
    as_json: bool,
) -> None:
    """Play ACCESS-LOG through a policy with a virtual clock, and compare it with another one.

    Nothing is moved, and nothing is read from the volume. A mount records such a log if its volume
    file has a section access_log; the older part, ACCESS-LOG.1, is played first if there is one.
    """
    recording = Recording(access_log)
    asked = _settings_of(recording, (new, against), volume, flash)
    flashes = [
        SimulatedFlash(load_policy(policy, head=asked.head), asked.flash)
        for policy in asked.policies
    ]
    with waiting_for("playing the log"):
        played = play(recording, flashes)
    for line in damaged_lines(recording.damaged, recording.damaged_count):
        click.echo(line, err=True)
    if not played.uses:
        raise UsageError(f"{access_log} has no access; a line is: SECONDS INODE BYTES [w]")
    ledgers = [flash.ledger for flash in flashes]
    click.echo(
        _json(asked, played, recording, ledgers) if as_json else _table(asked, played, ledgers)
    )


def _settings_of(
    recording: Recording, given: tuple[Path, Path | None], volume: Path | None, flash: int | None
) -> Settings:
    new, against = given
    settings = load_volume_file(volume) if volume else None
    told = beginning_of(recording) or Beginning(0, 0, 0)
    capacity = flash or (_capacity(settings) if settings else told.flash)
    if not capacity:
        raise UsageError("the log does not say how large flash is; name --flash SIZE or --volume")
    old = against or (settings.policy if settings else None)
    head = settings.head if settings else told.head or DEFAULT_HEAD
    return Settings((new, old) if old else (new,), capacity, head)


def _capacity(settings: VolumeFile) -> int:
    try:
        facts = os.statvfs(settings.flash)
    except OSError as error:
        message = f"{settings.path}: {settings.flash}: {error.strerror}; name --flash SIZE"
        raise UsageError(message) from None
    return facts.f_blocks * facts.f_frsize


def _table(asked: Settings, played: Played, ledgers: Sequence[Ledger]) -> str:
    first, *others = ledgers
    time = format_duration(played.last - played.first)
    head = f"{first.reads:,} reads in {time}, {format_size(asked.flash)} of flash"
    names = ["", *(policy.name for policy in asked.policies), *(["difference"] if others else [])]
    rows = [tuple(names), *(_row(*row, ledgers) for row in ROWS)]
    return "\n".join([head, "", *aligned(rows, numbers=len(names) - 1)])


ROWS: Final = (
    ("hits, % of reads", "hit_rate"),
    ("hits, % of bytes", "byte_hit_rate"),
    ("flash used, peak", "peak"),
    ("flash used, end", "used"),
    ("moved to flash", "to_flash"),
    ("moved to disk", "to_disk"),
    ("evicted", "evicted"),
)


def _row(title: str, name: str, ledgers: Sequence[Ledger]) -> tuple[str, ...]:
    values = [getattr(ledger, name) for ledger in ledgers]
    show = _percent if name.endswith("rate") else format_size
    cells = [title, *map(show, values)]
    if len(values) > 1:
        apart = values[0] - values[1]
        sign = "+" if apart > 0 else "-" if apart < 0 else ""
        cells.append(sign + show(abs(apart)))
    return tuple(cells)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _json(asked: Settings, played: Played, recording: Recording, ledgers: Sequence[Ledger]) -> str:
    told: dict[str, Any] = {
        "log": {
            "files": [str(part) for part in recording.parts],
            "uses": played.uses,
            "seconds": (played.last - played.first) / SECOND,
            "damaged_lines": recording.damaged_count,
        },
        "flash": asked.flash,
        "policies": [
            {"policy": str(policy), **_figures(ledger)}
            for policy, ledger in zip(asked.policies, ledgers, strict=True)
        ],
    }
    if len(ledgers) > 1:
        new, old = map(_figures, ledgers)
        told["difference"] = {name: new[name] - old[name] for name in new}
    return json.dumps(told, indent=2)


def _figures(ledger: Ledger) -> dict[str, float]:
    return {
        **asdict(ledger),
        "hit_rate": ledger.hit_rate,
        "byte_hit_rate": ledger.byte_hit_rate,
        "moved": ledger.moved,
    }
