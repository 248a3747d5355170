"""``tierfs init``: make a volume."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from tierfs.base.errors import UsageError
from tierfs.base.units import parse_size
from tierfs.cli.verb import Verb
from tierfs.core.volume import format_volume
from tierfs.policy.volume_file import load_volume_file, render_volume_file


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


DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


EXAMPLES = """
tierfs init /etc/tierfs/images.yaml --flash /nvme/images --disk /raid/images
"""


@click.command(
    cls=Verb, epilog=EXAMPLES, name="init", short_help="Make a volume of two empty directories."
)
@click.argument("volume_file", metavar="VOLUME.yaml", type=FILE)
@click.option("--flash", required=True, type=DIRECTORY, help="Empty directory for the heads.")
@click.option("--disk", required=True, type=DIRECTORY, help="Empty directory for the rest.")
@click.option(
    "--head",
    type=SizeType(),
    default="64KiB",
    show_default=True,
    help="How much of each file's start lies on flash: 4KiB to 1GiB, a multiple of 4KiB.",
)
@click.option(
    "--index", type=FILE, help="The SQLite index.  [default: index.db in the flash directory]"
)
def command(volume_file: Path, flash: Path, disk: Path, head: int, index: Path | None) -> None:
    """Make a volume of two empty directories, and write VOLUME.yaml, which describes it."""
    text = render_volume_file(
        flash=flash.absolute(),
        disk=disk.absolute(),
        head=head,
        index=index.absolute() if index else None,
    )
    _write_new(volume_file, text)
    try:
        uuid = format_volume(load_volume_file(volume_file.resolve()))
    except BaseException:
        with suppress(OSError):
            volume_file.unlink()
        raise
    click.echo(f"Volume {uuid} is ready; mount it: tierfs mount {volume_file} DIRECTORY")


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already; choose another name or delete it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
