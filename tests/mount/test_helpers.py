from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tierfs.base.errors import TierfsError, UsageError
from tierfs.mount.helpers import NAMES, install, remove, script


def test_install_is_idempotent(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in NAMES]
    assert install(tmp_path) == paths
    assert install(tmp_path) == []
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o755, 0o755]


def test_an_older_helper_is_replaced(tmp_path: Path) -> None:
    install(tmp_path)
    path = tmp_path / NAMES[0]
    path.write_text(path.read_text().replace(sys.executable, "/old/python"))
    assert install(tmp_path) == [path]
    assert path.read_text() == script()


def test_remove_takes_only_what_is_there(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / NAMES[1]).unlink()
    assert remove(tmp_path) == [tmp_path / NAMES[0]]
    assert remove(tmp_path) == []


@pytest.mark.parametrize("act", [install, remove])
def test_a_foreign_file_stays(tmp_path: Path, act: Callable[[Path], list[Path]]) -> None:
    foreign = tmp_path / NAMES[1]
    foreign.write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="was not made by tierfs"):
        act(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[1]]
    assert foreign.read_text() == "#!/bin/sh\n"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(TierfsError, match="cannot be written: No such file"):
        install(tmp_path / "none")


def test_the_script_runs_with_hardly_any_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "odd 'name"
    odd.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", os.fspath(odd))
    shell = tmp_path / "helper"
    shell.write_text(
        script().replace("-m tierfs.cli.mount_helper", "-c 'print(*__import__(\"sys\").argv)'")
    )
    done = subprocess.run(
        ["/bin/sh", shell, "a b", "-o", "ro"],
        check=True,
        capture_output=True,
        text=True,
        env={},
        timeout=20,
    )
    assert done.stdout == "-c a b -o ro\n"
