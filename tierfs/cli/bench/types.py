"""Words of the command line of ``tierfs bench``: sizes, rates, and names with a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from tierfs.base.units import parse_size

DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class NamesType(click.ParamType[tuple[str, ...]]):
    """Some of several names, with commas between them; an alias stands for several."""

    name = "names"

    def __init__(self, known: Sequence[str], aliases: Mapping[str, Sequence[str]]) -> None:
        self.known = known
        self.aliases = aliases

    def convert(
        self,
        value: str | tuple[str, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, ...]:
        """``rename,unlink`` as both; click shows which there are instead of a wrong one."""
        if isinstance(value, tuple):
            return value
        asked = [name.strip() for name in value.split(",")]
        for name in asked:
            if name not in self.known and name not in self.aliases:
                there = ", ".join([*self.known, *self.aliases])
                self.fail(f'"{name}" is none of: {there}', param, ctx)
        return tuple(one for name in asked for one in self.aliases.get(name, (name,)))


class SizeType(click.ParamType[int]):
    """A size with a unit, in bytes."""

    name = "size"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``64KiB`` as 65536; click shows what is wrong with a bad one."""
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class RateType(click.ParamType[int]):
    """Bytes a second."""

    name = "rate"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """``100MiB/s`` as 104857600; click shows what is wrong with a bad one."""
        if isinstance(value, int):
            return value
        size, slash, unit = value.partition("/")
        if not slash or unit.strip() != "s":
            self.fail(f'"{value}" is not a rate; write it as 100MiB/s', param, ctx)
        return SIZE.convert(size, param, ctx)


class NamedType(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE`` as both."""

    name = "name=value"

    def convert(
        self,
        value: str | tuple[str, str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        """A pair; what lacks a name or a value is refused."""
        if isinstance(value, tuple):
            return value
        name, _, rest = value.partition("=")
        if not name.strip() or not rest.strip() or "/" in name:
            shown = param.metavar if param and param.metavar else "NAME=VALUE"
            self.fail(f'"{value}" is not {shown}', param, ctx)
        return name.strip(), rest.strip()


SIZE: Final = SizeType()
RATE: Final = RateType()
NAMED: Final = NamedType()
