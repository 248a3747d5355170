"""The command ``tierfs``: a group of commands, each imported when it is used."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

import click

from tierfs.cli.command import Command, CommandGroup
from tierfs.cli.messages import message
from tierfs.common.errors import ExitCode, TierfsError, printable, printable_lines

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "tierfs.cli.init",
        "mount": "tierfs.cli.mount",
        "umount": "tierfs.cli.umount",
        "upgrade": "tierfs.cli.upgrade",
        "list": "tierfs.cli.list",
        "status": "tierfs.cli.status",
        "where": "tierfs.cli.where",
        "du": "tierfs.cli.du",
        "top": "tierfs.cli.top",
        "profile": "tierfs.cli.profile",
        "report": "tierfs.cli.report",
        "training": "tierfs.cli.training",
        "find": "tierfs.cli.find",
        "sql": "tierfs.cli.sql",
        "tag": "tierfs.cli.tag",
        "manifest": "tierfs.cli.manifest",
        "view": "tierfs.cli.view",
        "facts": "tierfs.cli.facts",
        "pin": "tierfs.cli.manual:pin",
        "unpin": "tierfs.cli.manual:unpin",
        "promote": "tierfs.cli.manual:promote",
        "demote": "tierfs.cli.manual:demote",
        "warm": "tierfs.cli.warm",
        "policy": "tierfs.cli.policy",
        "advise": "tierfs.cli.advise",
        "adopt": "tierfs.cli.adopt",
        "export": "tierfs.cli.export",
        "changes": "tierfs.cli.changes",
        "backup": "tierfs.cli.backup",
        "restore": "tierfs.cli.restore",
        "load": "tierfs.cli.dump:load",
        "dump": "tierfs.cli.dump",
        "replace-flash": "tierfs.cli.restore:replace_flash",
        "scrub": "tierfs.cli.scrub",
        "fsck": "tierfs.cli.fsck",
        "new-uuid": "tierfs.cli.init:new_uuid",
        "doctor": "tierfs.cli.doctor",
        "bench": "tierfs.cli.bench",
        "debug-bundle": "tierfs.cli.debug_bundle",
        "install-helpers": "tierfs.cli.install_helpers",
        "completion": "tierfs.cli.shell:completion",
        "man": "tierfs.cli.shell:man",
        "version": "tierfs.cli.main:version",
    }
)
"""Where each command is: a module, of which it is ``command``, or ``MODULE:NAME``."""

HEADINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "init": "Make a volume and mount it",
        "list": "See",
        "find": "Know the data",
        "pin": "Say what belongs on flash",
        "adopt": "Bring files in, and out",
        "backup": "Keep data safe",
        "doctor": "Find out what is wrong",
        "install-helpers": "This machine",
    }
)
"""Those of the help, in the order of use, each by the first command below it."""

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
tierfs version --json | jq -r .tierfs
"""


@click.command(
    cls=Command,
    epilog=VERSION_EXAMPLES,
    name="version",
    short_help="Show the versions of tierfs and of what it runs on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(*, as_json: bool = False) -> None:
    """Show the versions of tierfs, its main libraries, Python and the kernel."""
    # Slow to load, and only needed here.
    metadata, platform = import_module("importlib.metadata"), import_module("platform")
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "(run from its source directory)"
    found["Python"] = platform.python_version()
    found[platform.system()] = f"{platform.release()} {platform.machine()}"
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for what, number in found.items():
        click.echo(f"{what} {number}")


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        ctx.invoke(version)
        ctx.exit()


@click.group(
    cls=CommandGroup,
    modules=COMMANDS,
    headings=HEADINGS,
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
        parameter = error.param if isinstance(error, click.MissingParameter) else None
        if parameter is not None and "MOUNTPOINT" in (parameter.metavar or ""):
            shown.write("The mounts are listed by: tierfs list\n")
        click.echo(printable_lines(shown.getvalue()), nl=False, err=True)  # it quotes arguments
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - a line for people, no traceback
        return failed(error)
    return code or ExitCode.OK


def failed(error: Exception) -> int:
    """Print an error on stderr; returns the exit code."""
    if os.environ.get(DEBUG):
        import_module("traceback").print_exception(error)
    if isinstance(error, TierfsError | OSError):
        click.echo(message("tierfs", error), err=True)
    else:
        what = f"{type(error).__name__}: {printable(str(error))}"
        click.echo(
            f"tierfs: unexpected {what}; this is a bug in tierfs. "
            f"Run it again with {DEBUG}=1 to see where it happened",
            err=True,
        )
    return error.exit_code if isinstance(error, TierfsError) else ExitCode.UNEXPECTED


if __name__ == "__main__":
    sys.exit(main())
