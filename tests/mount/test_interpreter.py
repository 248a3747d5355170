from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tierfs
from tierfs.daemon.interpreter import module_command

pytestmark = pytest.mark.once

SOURCE = Path(tierfs.__path__[0]).parent


def test_the_same_tierfs_runs_from_any_directory(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    done = subprocess.run(
        [*module_command("tierfs"), "version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert "pyfuse3" in done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "{}"), ("", "{}"), ("/a:/b", "{}:/a:/b"), (os.fspath(SOURCE), "{}")],
)
def test_a_path_of_ones_own_is_kept(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    monkeypatch.setattr(tierfs, "__path__", [os.fspath(SOURCE / "tierfs")])
    assert f"PYTHONPATH={after.format(SOURCE)}" in module_command("tierfs")


def test_an_installed_tierfs_needs_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tierfs, "__path__", ["/usr/lib/python3/site-packages/tierfs"])
    assert module_command("tierfs.x") == [sys.executable, "-P", "-m", "tierfs.x"]
