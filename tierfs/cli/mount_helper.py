"""What /sbin/mount.tierfs runs: the helper that mount(8) calls for the type ``tierfs``.

``mount.tierfs SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]``, with the exit codes of
mount(8).
"""

from __future__ import annotations

import getopt
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import click

from tierfs.cli.messages import message
from tierfs.common.errors import TierfsError, UsageError, printable
from tierfs.daemon.options import MountOptions, known_words, parse_options, split_words
from tierfs.daemon.startup import MountRequest, MountWarnings, start_daemon
from tierfs.policy.volume_file import load_volume_file

USAGE: Final = "mount.tierfs VOLUME.yaml MOUNTPOINT [-sfnv] [-o OPTIONS] [-t TYPE]"
TYPES: Final = ("tierfs", "fuse.tierfs")
OPERANDS: Final = 2


class MountExit(IntEnum):
    """Exit codes of mount(8)."""

    OK = 0
    USAGE = 1
    FAILED = 32


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed command line of the helper."""

    request: MountRequest
    options: MountOptions
    fake: bool
    verbose: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Mount as the command line says; returns an exit code of mount(8)."""
    try:
        call = parse(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _failed(error, MountExit.USAGE)
    try:
        perform(call)
    except (TierfsError, OSError) as error:
        return _failed(error, MountExit.FAILED)
    return MountExit.OK


def parse(arguments: Sequence[str]) -> Call:
    """The meaning of the helper's command line.

    Raises:
        UsageError: it is not one of mount(8)'s.
    """
    try:
        flags, operands = getopt.gnu_getopt(list(arguments), "sfnvN:o:t:")
    except getopt.GetoptError as error:
        raise UsageError(f"{error}; usage: {USAGE}") from error
    given = dict(flags)
    _check(given, operands)
    texts = tuple(value for name, value in flags if name == "-o")
    if "-s" in given:
        texts = tuple(known_words(word for text in texts for word in split_words(text)))
    return Call(
        MountRequest.of(Path(operands[0]), Path(operands[1]), texts),
        parse_options(texts),
        fake="-f" in given,
        verbose="-v" in given,
    )


def perform(call: Call) -> None:
    """Mount, or with ``-f`` only check the volume file.

    Raises:
        TierfsError: it cannot.
    """
    if call.options.nofail and (missing := _missing(call.request.volume_file)):
        _say(call, f"{missing} is missing: not mounted (nofail)")
    elif call.fake:
        load_volume_file(call.request.volume_file)
    else:
        warnings = MountWarnings(call.request)
        pid = start_daemon(call.request)
        for warning in warnings.lines():
            click.echo(f"mount.tierfs: warning: {printable(warning)}", err=True)
        _say(
            call, f"{call.request.volume_file} mounted on {call.request.mountpoint}, process {pid}"
        )


def _check(given: dict[str, str], operands: list[str]) -> None:
    if len(operands) != OPERANDS:
        raise UsageError(f"usage: {USAGE}")
    if "-N" in given:
        raise UsageError("-N is not supported; run mount inside the namespace: nsenter --mount=...")
    if given.get("-t", TYPES[0]) not in TYPES:
        raise UsageError(f"this is the helper of the type tierfs, not {given['-t']}")


def _missing(volume_file: Path) -> Path | None:
    """mount(8): with ``nofail`` a device that does not exist is not an error.

    The devices of a volume are its file and its two directories.
    """
    if not volume_file.exists():
        return volume_file
    settings = load_volume_file(volume_file)
    return next((path for path in (settings.flash, settings.disk) if not path.exists()), None)


def _say(call: Call, text: str) -> None:
    if call.verbose:
        click.echo(f"mount.tierfs: {printable(text)}")


def _failed(error: Exception, code: MountExit) -> int:
    click.echo(message("mount.tierfs", error), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
