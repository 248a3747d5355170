"""``tierfs list``: the mounts of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final, Literal, NamedTuple

import click

from tierfs.cli.command import Command
from tierfs.cli.messages import aligned
from tierfs.common.errors import printable
from tierfs.daemon.mountinfo import Mount, mounts
from tierfs.daemon.mountpoint import ask_daemon
from tierfs.daemon.runtime import Run, runs

EXAMPLES = """
tierfs list
tierfs list --json | jq -r '.[] | select(.state == "dead") | .mountpoint'
"""
HEADINGS: Final = ("mountpoint", "volume file", "state", "process", "UUID")


@click.command(cls=Command, epilog=EXAMPLES, name="list", short_help="List the mounts.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(*, as_json: bool) -> None:
    """List the tierfs mounts, and the daemons whose mount is not visible here.

    States: mounted; dead (its daemon is gone: mount it again); starting; closing (unmounted, and
    writing out the rest); detached (unmounted lazily, or mounted in another mount namespace, and
    still in use). The command waits for no daemon, so it works while a mount hangs.
    """
    found = mounts_and_daemons()
    if as_json:
        click.echo(json.dumps([listed._asdict() for listed in found], indent=2))
    elif found:
        for line in aligned([HEADINGS, *(_row(listed) for listed in found)]):
            click.echo(line)


def _row(listed: Listed) -> tuple[str, ...]:
    pid = "?" if listed.pid is None else str(listed.pid)
    return (
        printable(bytes(Path(listed.mountpoint))),
        printable(bytes(Path(listed.volume))),
        listed.state,
        pid,
        listed.uuid or "?",
    )


ANSWER_SECONDS: Final = 1.0

State = Literal["mounted", "dead", "starting", "closing", "detached"]


class Listed(NamedTuple):
    """A mount, or a daemon whose mount is not visible here."""

    mountpoint: str
    volume: str
    """The volume file."""
    state: State
    pid: int | None
    """None if unknown: the daemon is gone, or another user's."""
    uuid: str | None


def mounts_and_daemons() -> list[Listed]:
    """The mounts that this process sees, then the daemons without one."""
    listed = [mount for mount in mounts() if mount.is_tierfs]
    daemons = [
        run
        for owner in sorted({os.geteuid(), 0, *(mount.owner for mount in listed)})
        for run in runs(owner)
        if run.alive()
    ]
    found, seen = [], set()
    for mount in listed:
        run = next((run for run in daemons if run.serves(mount)), None)
        seen |= {run.pid} if run else set()
        found.append(_mounted(mount, run))
    for run in daemons:
        if run.pid not in seen:
            state: State = "detached" if run.state == "serving" else run.state
            found.append(Listed(run.mountpoint, run.volume, state, run.pid, run.uuid))
    return found


def _mounted(mount: Mount, run: Run | None) -> Listed:
    path = os.fspath(mount.path)
    if run is not None:
        return Listed(path, mount.source, "mounted", run.pid, run.uuid)
    return Listed(path, mount.source, "mounted" if _answers(mount) else "dead", None, None)


def _answers(mount: Mount) -> bool:
    """Whether a mount without a run file has a daemon; one that merely hangs has."""
    try:
        ask_daemon(mount.path, ANSWER_SECONDS)
    except TimeoutError:
        return True
    except OSError as error:
        return isinstance(error, PermissionError)  # another user's, which lets nobody else in
    return True
