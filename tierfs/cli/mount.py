"""``tierfs mount``: mount a volume, or all that fstab(5) names."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from tierfs.cli.messages import message
from tierfs.cli.verb import PATH, Verb
from tierfs.common.errors import TierfsError
from tierfs.common.text import printable
from tierfs.daemon import fstab
from tierfs.daemon.options import parse_options
from tierfs.daemon.startup import (
    START_SECONDS,
    MountRequest,
    MountWarnings,
    StartupNotifier,
    start_daemon,
)

DAEMON: Final = "tierfs.daemon.main"
EXAMPLES = """
tierfs mount /etc/tierfs/images.yaml /mnt/images
tierfs mount images.yaml /mnt/images -o ro,nosuid
tierfs mount images.yaml /mnt/images --foreground -o log_level=debug
tierfs mount --all
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="mount", short_help="Mount a volume.")
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH, required=False)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=PATH, required=False)
@click.option(
    "-o", "--options", multiple=True, metavar="OPTIONS", help="Mount options, comma-separated."
)
@click.option(
    "--no-fastpath", is_flag=True, help="Serve every request through Python: slower, simpler."
)
@click.option("-f", "--foreground", is_flag=True, help="Serve in this process and log to stderr.")
@click.option(
    "-a",
    "--all",
    "every",
    is_flag=True,
    help="Mount what fstab names of the type tierfs, without noauto; dead mounts are replaced.",
)
@click.option(
    "-T",
    "--fstab",
    "table",
    type=PATH,
    default=fstab.FSTAB,
    show_default=True,
    metavar="FILE",
    help="With --all: the file to read.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=START_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the mount to answer.",
)
@click.option("--ready-pipe", type=click.IntRange(min=3), hidden=True)
def command(
    volume_file: Path | None,
    mountpoint: Path | None,
    options: tuple[str, ...],
    *,
    no_fastpath: bool,
    foreground: bool,
    every: bool,
    table: Path,
    timeout: float,
    ready_pipe: int | None,
) -> None:
    """Mount the volume that VOLUME.yaml describes on the directory MOUNTPOINT.

    Returns when the mount answers; a daemon stays behind and serves it. The options are those
    of mount(8) and of FUSE, as ro, nosuid and allow_other, and a few of tierfs: writeback,
    no_fastpath and log_level=LEVEL.
    """
    if no_fastpath:
        options = (*options, "no_fastpath")
    if every:
        if volume_file or foreground:
            raise click.UsageError("--all takes no VOLUME.yaml, no MOUNTPOINT and no --foreground")
        _mount_all(table, options, timeout)
        return
    if volume_file is None or mountpoint is None:
        raise click.UsageError("name a VOLUME.yaml and a MOUNTPOINT, or give --all")
    request = MountRequest.of(volume_file, mountpoint, options)
    if foreground:
        # Everything that serves is loaded only here: the waiting command does without.
        import_module(DAEMON).run(request, StartupNotifier(ready_pipe))
    else:
        _mount(request, timeout)


def _mount(request: MountRequest, timeout: float) -> None:
    parse_options(request.options)
    cautions = MountWarnings(request)
    start_daemon(request, seconds=timeout)
    for caution in cautions.lines():
        click.echo(f"tierfs: warning: {printable(caution)}", err=True)


def _mount_all(table: Path, options: tuple[str, ...], timeout: float) -> None:
    """Mount every line that is not mounted; one that fails holds up no other.

    Raises:
        TierfsError: the last failure; the others are told.
    """
    failures: list[TierfsError] = []
    for line in fstab.lines(table):
        try:
            if fstab.is_served(line.mountpoint):
                continue
            request = MountRequest.of(line.volume_file, line.mountpoint, (line.options, *options))
            if parse_options(request.options).nofail and not request.volume_file.exists():
                continue
            _mount(request, timeout)
            click.echo(printable(f"{request.volume_file} is mounted on {request.mountpoint}"))
        except TierfsError as error:
            failures.append(error)
    for failure in failures[:-1]:
        click.echo(message("tierfs", failure), err=True)
    if failures:
        raise failures[-1]
