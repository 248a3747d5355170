"""Which files a command is about: its words, and a list on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import click

from tierfs.base.errors import UsageError
from tierfs.prewarm.find import parse_list

F = TypeVar("F", bound=Callable[..., Any])

LIST: Final = "-"
PIECE: Final = 64 * 1024


def takes_files(command: F) -> F:
    """Give a command the words ``paths`` and the option ``null``."""
    # No click.Path: that looks the file up, and a command may ask whether its name is known.
    words = click.argument("paths", metavar="[PATH...] [-]", nargs=-1, type=click.UNPROCESSED)
    null = click.option(
        "-0", "--null", is_flag=True, help="NUL bytes, not newlines, end the list's names."
    )
    return words(null(command))


def named(paths: tuple[str, ...]) -> list[bytes]:
    """The paths among the words."""
    return [os.fsencode(path) for path in paths if path != LIST]


def listed(paths: tuple[str, ...], *, null: bool) -> Iterator[bytes]:
    """The names of the list, read as they are asked for, if a word wants one."""
    return parse_list(_read_input, b"\0" if null else b"\n") if LIST in paths else iter(())


def require_files(verb: str, paths: tuple[str, ...], *, null: bool) -> None:
    """Refuse words that name nothing.

    Raises:
        UsageError: there is no word, or ``-0`` and no list.
    """
    if not paths:
        raise UsageError("name files or directories, or - for a list on standard input")
    if null and LIST not in paths:
        raise UsageError(f"-0 is about the list on standard input: tierfs {verb} -0 -")


def _read_input() -> bytes:
    """A piece of standard input; unbuffered, so that a thread that waits here can be left."""
    return os.read(sys.stdin.fileno(), PIECE)
