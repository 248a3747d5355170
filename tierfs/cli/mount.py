"""``tierfs mount``: mount a volume."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import click

from tierfs.cli.verb import PATH, Verb
from tierfs.mount.cautions import cautions
from tierfs.mount.daemon import START_SECONDS, Request, start_daemon
from tierfs.mount.handshake import Herald
from tierfs.mount.options import parse_options

SESSION: Final = "tierfs.mount.session"
EXAMPLES = """
tierfs mount /etc/tierfs/images.yaml /mnt/images
tierfs mount images.yaml /mnt/images -o ro,nosuid
tierfs mount images.yaml /mnt/images --foreground -o log_level=debug
"""


@click.command(cls=Verb, epilog=EXAMPLES, name="mount", short_help="Mount a volume.")
@click.argument("volume_file", metavar="VOLUME.yaml", type=PATH)
@click.argument("mountpoint", metavar="MOUNTPOINT", type=PATH)
@click.option(
    "-o", "--options", multiple=True, metavar="OPTIONS", help="Mount options, comma-separated."
)
@click.option(
    "--no-fastpath", is_flag=True, help="Serve every request through Python: slower, simpler."
)
@click.option("-f", "--foreground", is_flag=True, help="Serve in this process and log to stderr.")
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
    volume_file: Path,
    mountpoint: Path,
    options: tuple[str, ...],
    *,
    no_fastpath: bool,
    foreground: bool,
    timeout: float,
    ready_pipe: int | None,
) -> None:
    """Mount the volume that VOLUME.yaml describes on the directory MOUNTPOINT.

    Returns when the mount answers; a daemon stays behind and serves it. The options are those
    of mount(8) and of FUSE, and a few of tierfs: docs/reference/mount-options.md.
    """
    if no_fastpath:
        options = (*options, "no_fastpath")
    request = Request.of(volume_file, mountpoint, options)
    if foreground:
        # Everything that serves is loaded only here: the waiting command does without.
        import_module(SESSION).run(request, Herald(ready_pipe))
    else:
        parse_options(options)
        found = cautions(request)
        start_daemon(request, seconds=timeout)
        for caution in found:
            click.echo(f"tierfs: warning: {caution}", err=True)
