"""``tierfs upgrade``: let this tierfs serve a mount that another one serves, while it is used."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.waiting import waiting_for
from tierfs.common.errors import NotMounted, TierfsError, printable
from tierfs.daemon.control_client import ask
from tierfs.daemon.interpreter import module_command

TIMEOUT: Final = 120.0
ANSWER_S: Final = 5.0
AGAIN_S: Final = 0.05
UPGRADE: Final = "upgrade"
"""The reason of a takeover that this command asked for."""

EXAMPLES = """
tierfs upgrade /mnt/images
/opt/tierfs-2/bin/tierfs upgrade /mnt/images
tierfs upgrade /mnt/images --json | jq .stalled_s
"""


@click.command(
    cls=Command,
    epilog=EXAMPLES,
    name="upgrade",
    short_help="Let this tierfs take over a mount, while programs use it.",
)
@click.argument("mounted", metavar="MOUNTPOINT|VOLUME.yaml", type=PATH)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1.0),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the new daemon.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@may_be_quiet
def command(mounted: Path, *, timeout: float, as_json: bool) -> None:
    """Replace the daemon of a mount by one of the tierfs and the Python of this command.

    The mount must have been made with the option `supervise`. The new daemon also reads the volume
    file again. It starts beside the old one, which is ended only when the new one is ready; files
    stay open, and programs wait for a moment. If the new one does not start, the old one continues,
    and the command fails.
    """
    deadline = time.monotonic() + timeout
    before = ask(mounted, "status", seconds=ANSWER_S, wait=0)
    refused = None
    try:
        with waiting_for("waiting for the new daemon"):
            ask(mounted, "upgrade", seconds=timeout, command=module_command("tierfs"))
    except NotMounted as error:  # the daemon refuses, or has ended as it should
        refused = error
    after = _after(mounted, before, deadline, refused)
    supervisor = after["supervisor"]
    done = {"from_pid": before["pid"], "to_pid": after["pid"], "stalled_s": supervisor["stalled_s"]}
    if supervisor["last_reason"] != UPGRADE:
        raise TierfsError(f"the mount was taken over, but: {supervisor['last_reason']}")
    if as_json:
        click.echo(json.dumps(done, indent=2))
        return
    click.echo(
        printable(
            f"process {done['to_pid']} serves {after['mountpoint']} in place of process "
            f"{done['from_pid']}; programs waited {done['stalled_s']:.2f} s at most"
        )
    )


def _after(
    mounted: Path, before: dict[str, Any], deadline: float, refused: NotMounted | None
) -> dict[str, Any]:
    """The status once another process serves.

    Raises:
        NotMounted: ``refused``, if the old one still serves; or nobody does at ``deadline``.
    """
    while True:
        try:
            status = ask(mounted, "status", seconds=ANSWER_S, wait=0)
        except NotMounted as error:
            if time.monotonic() > deadline:
                raise
            refused = refused or error
        else:
            if status["pid"] == before["pid"] and refused is not None:
                raise refused
            if status["pid"] != before["pid"] and status["supervisor"]["stalled_s"] is not None:
                return status  # it answers here before it serves the mount
        time.sleep(AGAIN_S)
