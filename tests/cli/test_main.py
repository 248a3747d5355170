from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from unittest.mock import patch

import click
import pytest

from tierfs.cli.main import COMMANDS, DEBUG, INTERRUPTED, main
from tierfs.common.errors import ConfigError, ExitCode, VolumeBusy


def failing(error: BaseException) -> int:
    """Run a verb that raises `error`."""

    @click.command()
    def command() -> None:
        raise error

    with patch("tierfs.cli.main.version", command):
        return main(["version"])


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: tierfs {verb}" in shown
    examples = shown.partition("Examples:\n")[2]
    assert f"tierfs {verb}" in examples


COSTLY = {"yaml", "trio", "pyfuse3", "prometheus_client", "sqlite3", "tierfs.policy", "tierfs.fs"}
"""What takes longer to load than all else that a command needs."""


ASKING = COSTLY - {"tierfs.policy"} | {"rich", "tierfs.policy.model", "tierfs.tiering"}
"""The same of a find: its patterns are those of the policy."""


@pytest.mark.parametrize(
    ("verb", "costly"),
    [
        *((verb, COSTLY) for verb in ("mount", "umount", "list", "status", "where", "pin")),
        *((verb, ASKING) for verb in ("find", "sql", "manifest")),
    ],
)
def test_a_verb_that_only_asks_or_starts_loads_little(verb: str, costly: set[str]) -> None:
    load = f"import sys; from tierfs.cli.main import main; main([{verb!r}, '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not costly & {*done.stdout.splitlines()[-1].split()}


def test_the_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in COMMANDS)
    assert "\n  tierfs umount /mnt/images\n" in shown


@pytest.mark.parametrize("arguments", [[], ["mnt"], ["mount"], ["init", "x", "--nonsense"]])
def test_a_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert "Usage: tierfs" in capsys.readouterr().err


def test_an_error_is_a_line_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(VolumeBusy("/nvme: in use")) == ExitCode.VOLUME_BUSY
    assert capsys.readouterr() == ("", "tierfs: /nvme: in use\n")


def test_the_lines_of_a_bad_file_stand_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(ConfigError.of_lines(["a.yaml:1:2: one", "a.yaml:3:4: two"])) == ExitCode.USAGE
    assert capsys.readouterr().err == "a.yaml:1:2: one\na.yaml:3:4: two\n"


def test_what_the_machine_refuses_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(PermissionError(13, "Permission denied", "/x")) == ExitCode.UNEXPECTED
    assert capsys.readouterr().err == "tierfs: [Errno 13] Permission denied: '/x'\n"


def test_the_unexpected_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(RuntimeError("odd")) == ExitCode.UNEXPECTED
    said = capsys.readouterr().err
    assert said.startswith("tierfs: unexpected RuntimeError: odd; ")
    assert said.count("\n") == 1


def test_with_debug_there_is_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEBUG, "1")
    failing(RuntimeError("odd"))
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupt_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


def test_a_slip_in_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["moutn", "x"]) == ExitCode.USAGE
    assert "No such command 'moutn'. Did you mean 'mount'?\n" in capsys.readouterr().err
    assert main(["frobnicate"]) == ExitCode.USAGE
    assert "Did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_names_the_libraries(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert f"pyfuse3 {version_of('pyfuse3')}\n" in capsys.readouterr().out


def test_every_exit_code_is_documented() -> None:
    text = Path("docs/reference/exit-codes.md").read_text(encoding="utf-8")
    assert all(f"\n| {code.value} |" in text for code in ExitCode)


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tierfs", "status", "/"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == ExitCode.NOT_MOUNTED
    assert done.stderr == "tierfs: / is not a tierfs mountpoint\n"


def test_a_missing_mountpoint_names_the_list_of_mounts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once"]) == ExitCode.USAGE
    assert capsys.readouterr().err.endswith("The mounts are listed by: tierfs list\n")
