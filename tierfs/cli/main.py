"""The command ``tierfs``: a group of verbs, each imported when it is asked for."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

from tierfs.cli.messages import message
from tierfs.cli.verb import VerbGroup
from tierfs.common.errors import ExitCode, TierfsError
from tierfs.common.text import printable, printable_lines

VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "tierfs.cli.init",
        "mount": "tierfs.cli.mount",
        "umount": "tierfs.cli.umount",
        "list": "tierfs.cli.list",
        "status": "tierfs.cli.status",
        "warm": "tierfs.cli.warm",
        "where": "tierfs.cli.where",
        "pin": "tierfs.cli.manual:pin",
        "unpin": "tierfs.cli.manual:unpin",
        "promote": "tierfs.cli.manual:promote",
        "demote": "tierfs.cli.manual:demote",
        "export": "tierfs.cli.export",
        "fsck": "tierfs.cli.fsck",
        "new-uuid": "tierfs.cli.new_uuid",
        "bench": "tierfs.cli.bench",
        "policy": "tierfs.cli.policy",
        "install-helpers": "tierfs.cli.install_helpers",
        "version": "tierfs.cli.version",
    }
)
"""Where each verb is: a module, of which it is ``command``, or ``MODULE:NAME``."""

DEBUG: Final = "TIERFS_DEBUG"
INTERRUPTED: Final = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""


EXAMPLES = """
tierfs init images.yaml --flash /nvme/images --disk /raid/images
tierfs mount images.yaml /mnt/images
tierfs status /mnt/images
tierfs umount /mnt/images
"""


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        ctx.invoke(import_module(VERBS["version"]).command)
        ctx.exit()


@click.group(
    cls=VerbGroup,
    verbs=VERBS,
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
        wished = tierfs.main(arguments, prog_name="tierfs", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(printable_lines(shown.getvalue()), nl=False, err=True)  # arguments stand in it
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a line for people, no traceback
        return failed(error)
    return wished or ExitCode.OK


def failed(error: Exception) -> int:
    """Say on stderr what happened; returns the exit code."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    click.echo(_for_people(error), err=True)
    return error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED


def _for_people(error: Exception) -> str:
    if isinstance(error, TierfsError | OSError):
        return message("tierfs", error)
    what = f"{type(error).__name__}: {printable(str(error))}"
    return (
        f"tierfs: unexpected {what}; this is a mistake in tierfs. "
        f"Run it again with {DEBUG}=1 for where it happened"
    )


if __name__ == "__main__":
    sys.exit(main())
