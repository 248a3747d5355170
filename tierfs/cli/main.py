"""The command ``tierfs``: a group of commands, each imported when it is used."""

from __future__ import annotations

import io
import os
import platform
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

from tierfs.cli.command import Command, CommandGroup
from tierfs.cli.messages import message
from tierfs.common.errors import ExitCode, TierfsError
from tierfs.common.text import printable, printable_lines

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "tierfs.cli.init",
        "mount": "tierfs.cli.mount",
        "umount": "tierfs.cli.umount",
        "list": "tierfs.cli.list",
        "status": "tierfs.cli.status",
        "warm": "tierfs.cli.warm",
        "where": "tierfs.cli.where",
        "du": "tierfs.cli.du",
        "pin": "tierfs.cli.manual:pin",
        "unpin": "tierfs.cli.manual:unpin",
        "promote": "tierfs.cli.manual:promote",
        "demote": "tierfs.cli.manual:demote",
        "adopt": "tierfs.cli.adopt",
        "export": "tierfs.cli.export",
        "upgrade": "tierfs.cli.upgrade",
        "backup": "tierfs.cli.backup",
        "changes": "tierfs.cli.changes",
        "restore": "tierfs.cli.restore",
        "dump": "tierfs.cli.dump",
        "load": "tierfs.cli.dump:load",
        "replace-flash": "tierfs.cli.restore:replace_flash",
        "scrub": "tierfs.cli.scrub",
        "fsck": "tierfs.cli.fsck",
        "new-uuid": "tierfs.cli.init:new_uuid",
        "doctor": "tierfs.cli.doctor",
        "bench": "tierfs.cli.bench",
        "policy": "tierfs.cli.policy",
        "install-helpers": "tierfs.cli.install_helpers",
        "completion": "tierfs.cli.shell:completion",
        "man": "tierfs.cli.shell:man",
        "version": "tierfs.cli.main:version",
    }
)
"""Where each command is: a module, of which it is ``command``, or ``MODULE:NAME``."""

DEBUG: Final = "TIERFS_DEBUG"
INTERRUPTED: Final = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""

PACKAGES: Final = ("tierfs", "pyfuse3", "trio")


EXAMPLES = """
tierfs init images.yaml --flash /nvme/images --disk /raid/images
tierfs mount images.yaml /mnt/images
tierfs status /mnt/images
tierfs umount /mnt/images
"""


VERSION_EXAMPLES = """
tierfs version
"""


@click.command(
    cls=Command,
    epilog=VERSION_EXAMPLES,
    name="version",
    short_help="Show the versions of tierfs and of what it runs on.",
)
def version() -> None:
    """Show the versions of tierfs, its main libraries, Python and the kernel."""
    metadata = import_module("importlib.metadata")  # slow to load, and only needed here
    for package in PACKAGES:
        try:
            click.echo(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{package} (run from its source directory)")
    click.echo(f"Python {platform.python_version()}")
    click.echo(f"{platform.system()} {platform.release()} {platform.machine()}")


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        ctx.invoke(version)
        ctx.exit()


@click.group(
    cls=CommandGroup,
    modules=COMMANDS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="The same as `tierfs version`.",
)
def tierfs() -> None:
    """A filesystem over two directories: the head of every file on flash, the rest on disk."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns its exit code, after a message on stderr if it failed."""
    try:
        code = tierfs.main(arguments, prog_name="tierfs", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(printable_lines(shown.getvalue()), nl=False, err=True)  # it quotes arguments
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - a line for people, no traceback
        return failed(error)
    return code or ExitCode.OK


def failed(error: Exception) -> int:
    """Print an error on stderr; returns the exit code."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    click.echo(_for_people(error), err=True)
    return error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED


def _for_people(error: Exception) -> str:
    if isinstance(error, TierfsError | OSError):
        return message("tierfs", error)
    what = f"{type(error).__name__}: {printable(str(error))}"
    return (
        f"tierfs: unexpected {what}; this is a bug in tierfs. "
        f"Run it again with {DEBUG}=1 to see where it happened"
    )


if __name__ == "__main__":
    sys.exit(main())
