"""The options that the commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from tierfs.base.by_hand import parse_pin, parse_prefix
from tierfs.base.durations import SECOND, parse_duration
from tierfs.base.errors import UsageError
from tierfs.cli.given import takes_files

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE: Final = "1h"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command is to go about its files."""

    null: bool
    recursive: bool
    dry_run: bool
    patience: float | None
    """Seconds to wait until the files are moved; None: not at all."""


class PinType(click.ParamType[str]):
    """A length of time for a pin, as it is written."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same; click shows what is wrong with a bad one."""
        try:
            parse_duration(value)
            parse_pin(value.encode())
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


class DurationType(click.ParamType[float]):
    """A length of time, in seconds."""

    name = "duration"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """``90s`` as 90; click shows what is wrong with a bad one."""
        try:
            return parse_duration(str(value)) / SECOND
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PrefixType(click.ParamType[int]):
    """How much of a file is to be on flash, in bytes."""

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


recursive = click.option("-r", "--recursive", is_flag=True, help="All in and below directories.")
_dry_run = click.option(
    "-n", "--dry-run", is_flag=True, help="Only say what would be asked for, file by file."
)
_wait = click.option("--wait", is_flag=True, help="Return when the files have been moved.")
_timeout = click.option(
    "--timeout",
    type=DurationType(),
    metavar="TIME",
    help=f"How long --wait waits: 90s, 5min, 2h.  [default: {PATIENCE}]",
)


def acts(command: F) -> F:
    """Give a command its files, ``recursive`` and ``dry_run``."""
    return takes_files(recursive(_dry_run(command)))


def waits(command: F) -> F:
    """Give a command ``wait`` and ``timeout``."""
    return _wait(_timeout(command))


def patience(*, wait: bool, timeout: float | None) -> float | None:
    """Seconds to wait; None: not at all.

    Raises:
        UsageError: ``--timeout`` without ``--wait``.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout says how long --wait waits: give both")
    if not wait:
        return None
    return parse_duration(PATIENCE) / SECOND if timeout is None else timeout
