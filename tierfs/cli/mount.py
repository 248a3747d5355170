"""``tierfs mount``: mount a volume, or all that fstab(5) names."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import click

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.cli.messages import message
from tierfs.common.errors import TierfsError, UsageError, printable
from tierfs.daemon.mountinfo import mount_at, mounts
from tierfs.daemon.mountpoint import is_stale, without_links
from tierfs.daemon.options import parse_options
from tierfs.daemon.startup import (
    START_SECONDS,
    MountRequest,
    MountWarnings,
    StartupNotifier,
    start_daemon,
)

DAEMON: Final = "tierfs.daemon.session"
SUPERVISOR: Final = "tierfs.supervisor"
"""In the context: the socket of the supervisor that started this, or None."""

FSTAB: Final = Path("/etc/fstab")
TYPES: Final = frozenset({"tierfs", "fuse.tierfs"})
FIELDS: Final = 4
"""The volume file, the mountpoint, the type and the options; the other two are not used."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")

EXAMPLES = """
tierfs mount /etc/tierfs/images.yaml /mnt/images
tierfs mount images.yaml /mnt/images -o ro,nosuid
tierfs mount images.yaml /mnt/images --foreground -o log_level=debug
tierfs mount --all
"""


@click.command(cls=Command, epilog=EXAMPLES, name="mount", short_help="Mount a volume.")
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
    help="Mount the fstab lines of type tierfs without noauto; replace dead mounts.",
)
@click.option(
    "-T",
    "--fstab",
    "table",
    type=PATH,
    default=FSTAB,
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
@click.option(
    "--supervisor",
    type=click.IntRange(min=3),
    hidden=True,
    expose_value=False,
    callback=lambda ctx, _option, descriptor: ctx.meta.update({SUPERVISOR: descriptor}),
)
@may_be_quiet
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

    The command returns when the mount answers; a daemon serves it in the background. The options
    are those of mount(8) and of FUSE, such as ro, nosuid and allow_other, and those of tierfs:
    writeback, no_fastpath, supervise and log_level=LEVEL.
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
    supervisor = click.get_current_context().meta[SUPERVISOR]
    if supervisor is not None:
        # The paths are real ones, and nobody may answer at the mountpoint yet.
        request = MountRequest(volume_file, mountpoint, options)
        import_module(DAEMON).run_supervised(request, StartupNotifier(ready_pipe), supervisor)
        return
    request = MountRequest.of(volume_file, mountpoint, options)
    if foreground and parse_options(options).supervise:
        request.supervise(ready_pipe)
    elif foreground:
        # Loaded only here: the command that waits does not need the daemon's modules.
        import_module(DAEMON).run(request, StartupNotifier(ready_pipe))
    else:
        _mount(request, timeout)


def _mount(request: MountRequest, timeout: float) -> None:
    parse_options(request.options)
    warnings = MountWarnings(request)
    with _waiting():
        start_daemon(request, seconds=timeout)
    for warning in warnings.lines():
        click.echo(f"tierfs: warning: {printable(warning)}", err=True)


def _waiting() -> AbstractContextManager[None]:
    if not sys.stderr.isatty():
        return nullcontext()
    # Loaded only for a person: scripts and boots mount without it.
    shown: AbstractContextManager[None] = import_module("tierfs.cli.progress").waiting_for(
        "waiting for the mount to answer"
    )
    return shown


def _mount_all(table: Path, options: tuple[str, ...], timeout: float) -> None:
    """Mount every line that is not mounted; the others are mounted even if one fails.

    Raises:
        TierfsError: the last failure; the others are printed.
    """
    failures: list[TierfsError] = []
    for line in fstab_lines(table):
        try:
            if is_served(line.mountpoint):
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


# ------------------------------------------------------------------ fstab


class FstabLine(NamedTuple):
    """A line of fstab."""

    volume_file: Path
    mountpoint: Path
    options: str


def fstab_lines(path: Path = FSTAB) -> list[FstabLine]:
    """The lines of the type tierfs, in their order, without those with ``noauto``.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    found = []
    for line in text.splitlines():
        fields = [_text(field) for field in line.split()]
        if len(fields) < FIELDS or fields[0].startswith("#") or fields[2] not in TYPES:
            continue
        if "noauto" not in fields[3].split(","):
            found.append(FstabLine(Path(fields[0]), Path(fields[1]), fields[3]))
    return found


def is_served(mountpoint: Path) -> bool:
    """Whether a live tierfs mount is there. mount(8) takes one that lost its daemon for mounted."""
    listed = mounts()
    found = mount_at(without_links(mountpoint, listed), listed)
    return found is not None and found.is_tierfs and not is_stale(found.path)


def _text(field: str) -> str:
    r"""Blanks in names are written as ``\040``; see fstab(5)."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), field)
