"""``tierfs completion`` and ``tierfs man``: what shells and man(1) know of the commands.

Both come from the commands themselves, so that they say what ``--help`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

from tierfs.cli.command import PATH, Command, may_be_quiet
from tierfs.common.errors import ExitCode, TierfsError

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_TIERFS_COMPLETE"
"""click's name of it; set by the script that the shell runs."""

STATUSES: Final = {
    ExitCode.OK: "Success.",
    ExitCode.UNEXPECTED: "An unexpected failure.",
    ExitCode.USAGE: "The command line, a mount option or a YAML file is wrong.",
    ExitCode.VOLUME_REFUSED: "The directories are not this volume.",
    ExitCode.VOLUME_BUSY: "Another daemon has the volume open.",
    ExitCode.MOUNT_FAILED: "Mounting or unmounting failed.",
    ExitCode.NOT_MOUNTED: "Nothing is mounted there, or its daemon does not answer.",
    ExitCode.DAMAGE: "Bytes or attributes differ from what they must be.",
    ExitCode.NO_ROOM: "Flash has no room, and waiting does not help.",
}

COMPLETION_EXAMPLES = """
tierfs completion bash > /etc/bash_completion.d/tierfs
tierfs completion zsh > "${fpath[1]}/_tierfs"
tierfs completion fish > ~/.config/fish/completions/tierfs.fish
"""

MAN_EXAMPLES = """
tierfs man /usr/local/share/man/man1
man tierfs-mount
"""


@click.command(
    cls=Command,
    epilog=COMPLETION_EXAMPLES,
    name="completion",
    short_help="Print what lets a shell complete tierfs commands.",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell: bash, zsh or fish."""
    made = get_completion_class(shell)
    if made is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"{shell} is not known")
    click.echo(made(_commands(), {}, "tierfs", VARIABLE).source())


@click.command(
    cls=Command,
    epilog=MAN_EXAMPLES,
    name="man",
    short_help="Write the manual pages of all commands.",
)
@click.argument("directory", metavar="DIRECTORY", type=PATH)
@may_be_quiet
def man(directory: Path) -> None:
    """Write a page for each command, as tierfs-COMMAND.1, into DIRECTORY."""
    pages = dict(manual_pages())
    try:
        for name, text in pages.items():
            (directory / f"{name}.1").write_text(text, encoding="utf-8")
    except OSError as error:
        hint = f"; make it: mkdir -p {directory}" if isinstance(error, FileNotFoundError) else ""
        raise TierfsError(f"{error.filename} cannot be written: {error.strerror}{hint}") from error
    click.echo(f"wrote {len(pages)} pages")


def manual_pages() -> Iterator[tuple[str, str]]:
    """The name and the text (groff_man(7)) of the page of each command."""
    root = click.Context(_commands(), info_name="tierfs")
    pending = [root]
    while pending:
        context = pending.pop(0)
        yield context.command_path.replace(" ", "-"), _page(context)
        command = context.command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                if child is not None and not child.hidden:
                    pending.append(click.Context(child, info_name=name, parent=context))


def _commands() -> click.Group:
    """All commands: loaded here, since that module loads this one."""
    group: click.Group = import_module("tierfs.cli.main").tierfs
    return group


def _page(context: click.Context) -> str:
    command, name = context.command, context.command_path.replace(" ", "-")
    children = {}
    if isinstance(command, click.Group):
        found = {one: command.get_command(context, one) for one in command.list_commands(context)}
        children = {one: _short(child) for one, child in found.items() if child is not None}
    version = import_module("importlib.metadata").version("tierfs")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH {name.upper()} 1 "" "tierfs {version}" "tierfs manual"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(_short(command)).rstrip('.')}",
        ".SH SYNOPSIS",
        f".B {_escaped(context.command_path)}",
        _escaped(usage),
        ".SH DESCRIPTION",
        *_paragraphs(command.help or ""),
    ]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    lines.append(".SH OPTIONS")
    for flags, meaning in filter(None, (one.get_help_record(context) for one in options)):
        lines += [".TP", f".B {_escaped(flags)}", _escaped(meaning)]
    if children:
        lines.append(".SH COMMANDS")
    for child, short in children.items():
        lines += [".TP", f".BR {_escaped(f'{name}-{child}')} (1)", _escaped(short)]
    lines += [".SH EXAMPLES", ".EX", *map(_escaped, (command.epilog or "").strip().split("\n"))]
    lines += [".EE", ".SH EXIT STATUS"]
    for code, meaning in STATUSES.items():
        lines += [".TP", f".B {int(code)}", _escaped(meaning)]
    above = context.parent
    if above is not None:
        lines += [".SH SEE ALSO", f".BR {_escaped(above.command_path.replace(' ', '-'))} (1)"]
    return "\n".join(lines) + "\n"


def _short(command: click.Command) -> str:
    return command.short_help or command.get_short_help_str(limit=1000)


def _paragraphs(text: str) -> Iterator[str]:
    r"""The text of a help, whose paragraphs end at an empty line; ``\b`` keeps the lines of one."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", cleandoc(text))):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_escaped, paragraph.split("\n")[1:]), ".fi")
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    """No character that roff(7) takes for a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
