"""Shells complete commands, and every command has a manual page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.proc import run
from tierfs.cli.main import COMMANDS, main
from tierfs.cli.shell import SHELLS, STATUSES, manual_pages
from tierfs.common.errors import ExitCode

COMPLETE = """
source <(tierfs completion bash) 2>/dev/null
COMP_WORDS=($1)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_tierfs_completion tierfs
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(line: str, programs: Path) -> list[str]:
    """What bash offers for the last word of a command line."""
    program = programs / "tierfs"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tierfs "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", line],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tierfs sta", ["status"]),
        ("tierfs policy pl", ["plan"]),
        ("tierfs status --js", ["--json"]),
        ("tierfs completion z", ["zsh"]),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert completed(line, tmp_path) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == ExitCode.OK
    assert "_TIERFS_COMPLETE" in capsys.readouterr().out


def test_every_command_has_a_page(tmp_path: Path) -> None:
    assert main(["man", str(tmp_path)]) == ExitCode.OK
    pages = {path.name for path in tmp_path.iterdir()}
    assert pages >= {f"tierfs-{name}.1" for name in COMMANDS} | {"tierfs.1", "tierfs-policy-plan.1"}


@pytest.mark.parametrize("name", [name for name, _ in manual_pages()])
def test_a_page_is_well_formed(name: str) -> None:
    """Groff warns of nothing, and what it sets has the help's text and examples."""
    text = dict(manual_pages())[name]
    done = run(["groff", "-man", "-ww", "-Tascii", "-P-cbou"], stdin=text)
    assert done.stderr == ""
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"):
        assert f"\n{heading}\n" in done.stdout
    assert "--help" in done.stdout


def test_every_exit_code_is_explained() -> None:
    assert set(STATUSES) == set(ExitCode)


def test_a_directory_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["man", str(tmp_path / "none")]) == ExitCode.UNEXPECTED
    assert "tierfs.1 cannot be written: No such file" in capsys.readouterr().err
