"""Every verb ends with the code that docs/reference/exit-codes.md has for the cause."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tierfs.cli.main import main, tierfs
from tierfs.common.errors import ExitCode


def verbs(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command that is no group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from verbs(command, (*words, name))
        else:
            yield (*words, name)


VERBS = [" ".join(words) for words in verbs(tierfs)]
NEED_NOTHING = {"list", "doctor", "install-helpers", "policy apply", "policy schema", "version"}
"""Verbs that have something to do without an argument."""

WITHOUT_A_MOUNT = {
    "umount": "DIR",
    "upgrade": "DIR",
    "status": "DIR",
    "where": "FILE",
    "du": "DIR",
    "find": "DIR",
    "sql": "DIR SELECT",
    "manifest": "DIR -o NEW.jsonl",
    "view create": "DIR size>1 --by user.a",
    "view refresh": "DIR",
    "view remove": "DIR",
    "tag set": "a=b FILE",
    "tag get": "a FILE",
    "tag remove": "a FILE",
    "tag list": "FILE",
    "report": "DIR --output NEW",
    "top": "DIR --once",
    "profile": "DIR --for 1s",
    "pin": "FILE",
    "unpin": "FILE",
    "promote": "FILE",
    "demote": "FILE",
    "warm": "FILE",
    "policy apply": "DIR",
    "policy plan": "DIR",
    "adopt": "DIR OTHER",
    "export": "DIR OTHER",
    "changes": "DIR",
    "scrub start": "DIR",
    "scrub pause": "DIR",
    "scrub status": "DIR",
    "training status": "DIR",
    "facts status": "DIR",
    "facts run": "DIR",
    "facts errors": "DIR",
    "debug-bundle": "DIR --output NEW",
}
"""Verbs of a mount, and what names a place where none is."""

WITHOUT_A_VOLUME_FILE = {
    "mount": "NEW DIR",
    "backup": "NEW",
    "restore": "NEW",
    "load": "NEW FILE",
    "dump": "NEW",
    "replace-flash": "NEW DIR",
    "fsck": "NEW",
    "new-uuid": "NEW",
    "advise": "NEW",
}
"""Verbs of a volume file, and what names one that is not there."""


def code(verb: str, words: str, home: Path) -> int:
    """The exit code of a command line; capitals stand for places in ``home``."""
    for name in ("DIR", "OTHER"):
        (home / name).mkdir(exist_ok=True)
    (home / "FILE").write_text("x")
    places = {"DIR", "OTHER", "FILE", "NEW", "VOLUME"}
    given = [os.fspath(home / word) if word in places else word for word in words.split()]
    return main([*verb.split(), *given])


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_there_is_not(verb: str, tmp_path: Path) -> None:
    assert code(verb, "--nonsense", tmp_path) == ExitCode.USAGE


@pytest.mark.parametrize("verb", sorted({*VERBS} - NEED_NOTHING))
def test_an_argument_that_is_missing(verb: str, tmp_path: Path) -> None:
    assert code(verb, "", tmp_path) == ExitCode.USAGE


@pytest.mark.parametrize("verb", WITHOUT_A_MOUNT)
def test_a_place_that_is_no_mount(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(verb, WITHOUT_A_MOUNT[verb], tmp_path) == ExitCode.NOT_MOUNTED
    assert capsys.readouterr().err.startswith("tierfs: ")


@pytest.mark.parametrize("verb", WITHOUT_A_VOLUME_FILE)
def test_a_volume_file_that_is_not_there(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(verb, WITHOUT_A_VOLUME_FILE[verb], tmp_path) == ExitCode.USAGE
    assert str(tmp_path / "NEW") in capsys.readouterr().err


@pytest.mark.parametrize("verb", WITHOUT_A_VOLUME_FILE)
def test_directories_that_are_no_volume(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flash, disk = tmp_path / "flash", tmp_path / "disk"
    flash.mkdir()
    disk.mkdir()
    (tmp_path / "VOLUME").write_text(f"version: 1\nflash: {flash}\ndisk: {disk}\n")
    words = WITHOUT_A_VOLUME_FILE[verb].replace("NEW", "VOLUME")
    expected = ExitCode.USAGE if verb == "advise" else ExitCode.VOLUME_REFUSED
    assert code(verb, words, tmp_path) == expected
    assert capsys.readouterr().err


def test_every_verb_is_of_one_of_these_kinds() -> None:
    """A new verb is to be put into a table here."""
    own = {
        "tag import",
        "init",
        "list",
        "bench",
        "doctor",
        "install-helpers",
        "completion",
        "man",
        "version",
    }
    policies = {"policy check", "policy explain", "policy schema", "policy replay"}
    assert {*VERBS} == WITHOUT_A_MOUNT.keys() | WITHOUT_A_VOLUME_FILE.keys() | own | policies
