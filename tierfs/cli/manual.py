"""``tierfs pin``, ``unpin``, ``promote`` and ``demote``: manual pins and requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from tierfs.cli.command import DURATION, Command, may_be_quiet
from tierfs.cli.files import takes_files
from tierfs.cli.manual_requests import (
    DEMOTE_REQUEST,
    UNPIN_REQUEST,
    Options,
    pin_request,
    promote_request,
    run_request,
)
from tierfs.common.errors import UsageError
from tierfs.common.tierfs_xattrs import parse_pin, parse_prefix
from tierfs.common.units import SECOND, parse_duration

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE: Final = "1h"


class PinType(click.ParamType[str]):
    """The duration of a pin, as written."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text; click shows what is wrong with a bad one."""
        try:
            parse_duration(value)
            parse_pin(value.encode())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


class PrefixType(click.ParamType[int]):
    """A prefix: how much of a file is to be on flash, in bytes."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``1MiB`` as 1048576; click shows what is wrong with a bad one."""
        try:
            prefix = parse_prefix(str(value).encode())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not prefix:
            self.fail(f'"{value}" brings nothing to flash; see tierfs demote', param, ctx)
        return prefix


recursive = click.option(
    "-r", "--recursive", is_flag=True, help="All files in and below directories."
)
_dry_run = click.option(
    "-n", "--dry-run", is_flag=True, help="Change nothing; print what would be done, file by file."
)
_wait = click.option("--wait", is_flag=True, help="Return when the files have been moved.")
_timeout = click.option(
    "--timeout",
    type=DURATION,
    metavar="TIME",
    help=f"How long --wait waits: 90s, 5min, 2h.  [default: {PATIENCE}]",
)


_as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object with the sums; sizes in bytes."
)


def acts(command: F) -> F:
    """Give a command its files, ``recursive``, ``dry_run`` and ``as_json``, and ``--quiet``."""
    return takes_files(recursive(_dry_run(_as_json(may_be_quiet(command)))))


def waits(command: F) -> F:
    """Give a command ``wait`` and ``timeout``."""
    return _wait(_timeout(command))


def patience(*, wait: bool, timeout: int | None) -> float | None:
    """Seconds to wait, from ``timeout`` in nanoseconds; None: not at all.

    Raises:
        UsageError: ``--timeout`` without ``--wait``.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout is for --wait: give both")
    if not wait:
        return None
    return (parse_duration(PATIENCE) if timeout is None else timeout) / SECOND


# ------------------------------------------------------------------ verbs

PIN_EXAMPLES = """
tierfs pin -r /mnt/images/screens/2026-07
tierfs pin --for 6h --wait -r /mnt/images/train
tierfs pin --for 6h - < epoch.txt
"""


@click.command(
    cls=Command,
    epilog=PIN_EXAMPLES,
    name="pin",
    short_help="Bring files to flash and keep them there.",
)
@acts
@click.option(
    "--for",
    "length",
    type=PinType(),
    metavar="TIME",
    help="End the pin after: 90s, 6h, 7d.  [default: until tierfs unpin]",
)
@waits
def pin(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    as_json: bool,
    length: str | None,
    wait: bool,
    timeout: int | None,
) -> int:
    """Bring whole files to flash and keep them there, whatever the policy says.

    PATH is a file of a tierfs mount, or with -r a directory; - reads a list of files from standard
    input. A pin belongs to the file, not to its name; that of a directory applies to everything in
    and below it, also to what is made or moved there later. The owner and root can set it.
    """
    options = Options(null, recursive, dry_run, patience(wait=wait, timeout=timeout), as_json)
    return run_request(pin_request(length), paths, options)


UNPIN_EXAMPLES = """
tierfs unpin -r /mnt/images/screens/2026-07
tierfs unpin --json -r /mnt/images/train | jq .files
"""


@click.command(
    cls=Command,
    epilog=UNPIN_EXAMPLES,
    name="unpin",
    short_help="Let pinned files leave flash again.",
)
@acts
def unpin(
    paths: tuple[str, ...], *, null: bool, recursive: bool, dry_run: bool, as_json: bool
) -> int:
    """End the pins of files. Nothing is moved: they leave flash when it needs room.

    PATH is a file of a tierfs mount, or with -r a directory; - reads a list of files from standard
    input. With -r the pins of directories end as well. Pins that the policy sets stay.
    """
    return run_request(UNPIN_REQUEST, paths, Options(null, recursive, dry_run, None, as_json))


PROMOTE_EXAMPLES = """
tierfs promote --wait -r /mnt/images/train
tierfs promote --to 1MiB /mnt/images/*.tif
find /mnt/images -name '*.tif' -print0 | tierfs promote -0 -
"""


@click.command(
    cls=Command, epilog=PROMOTE_EXAMPLES, name="promote", short_help="Bring files to flash, once."
)
@acts
@click.option(
    "--to",
    "prefix",
    type=PrefixType(),
    metavar="SIZE",
    default="all",
    show_default=True,
    help="How much of each file: a size, or all.",
)
@waits
def promote(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    as_json: bool,
    prefix: int,
    wait: bool,
    timeout: int | None,
) -> int:
    """Bring files to flash. They may leave it again when it needs room; see tierfs pin.

    PATH is a file of a tierfs mount, or with -r a directory; - reads a list of files from standard
    input. Bytes that are on flash already are not copied.
    """
    options = Options(null, recursive, dry_run, patience(wait=wait, timeout=timeout), as_json)
    return run_request(promote_request(prefix), paths, options)


DEMOTE_EXAMPLES = """
tierfs demote -r /mnt/images/screens/2025-11
tierfs demote --dry-run -r /mnt/images/old
"""


@click.command(cls=Command, epilog=DEMOTE_EXAMPLES, name="demote", short_help="Send files to disk.")
@acts
@waits
def demote(
    paths: tuple[str, ...],
    *,
    null: bool,
    recursive: bool,
    dry_run: bool,
    as_json: bool,
    wait: bool,
    timeout: int | None,
) -> int:
    """Send whole files to disk, heads included, and reset their heat.

    PATH is a file of a tierfs mount, or with -r a directory; - reads a list of files from standard
    input. Pinned files are refused; see tierfs unpin.
    """
    options = Options(null, recursive, dry_run, patience(wait=wait, timeout=timeout), as_json)
    return run_request(DEMOTE_REQUEST, paths, options)
