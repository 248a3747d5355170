from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tierfs
from tierfs.cli import install_helpers
from tierfs.cli.install_helpers import NAMES, UNIT, remove_helpers, script, write_helpers
from tierfs.cli.main import main
from tierfs.common.errors import ExitCode, TierfsError, UsageError
from tierfs.common.trust import Exposed, exposed

NO_UNITS = Path("/nonexistent")
"""As on a machine without systemd."""


@pytest.fixture(autouse=True)
def _trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests also run in a checkout of somebody who is not root."""
    monkeypatch.setattr(install_helpers, "exposed", lambda _path: None)


def test_install_is_idempotent(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in NAMES]
    assert write_helpers(tmp_path, NO_UNITS) == paths
    assert write_helpers(tmp_path, NO_UNITS) == []
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o755, 0o755]


def test_an_older_helper_is_replaced(tmp_path: Path) -> None:
    write_helpers(tmp_path, NO_UNITS)
    path = tmp_path / NAMES[0]
    path.write_text(path.read_text().replace(sys.executable, "/old/python"))
    assert write_helpers(tmp_path, NO_UNITS) == [path]
    assert path.read_text() == script()


def test_remove_takes_only_what_is_there(tmp_path: Path) -> None:
    write_helpers(tmp_path, NO_UNITS)
    (tmp_path / NAMES[1]).unlink()
    assert remove_helpers(tmp_path, NO_UNITS) == [tmp_path / NAMES[0]]
    assert remove_helpers(tmp_path, NO_UNITS) == []


@pytest.mark.parametrize("act", [write_helpers, remove_helpers])
def test_a_foreign_file_stays(tmp_path: Path, act: Callable[[Path, Path], list[Path]]) -> None:
    foreign = tmp_path / NAMES[1]
    foreign.write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match="was not made by tierfs"):
        act(tmp_path, NO_UNITS)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[1]]
    assert foreign.read_text() == "#!/bin/sh\n"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(TierfsError, match="cannot be written: No such file"):
        write_helpers(tmp_path / "none", NO_UNITS)


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


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
@pytest.mark.parametrize("which", ["interpreter", "package", "searched"])
def test_root_runs_nothing_that_others_can_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """sudo from a virtual environment in a home directory, say."""
    home = tmp_path / "home"
    home.mkdir()

    def of_home(path: Path) -> Exposed | None:
        return exposed(path) if home in path.parents else None

    monkeypatch.setattr(install_helpers, "exposed", of_home)
    if which == "interpreter":
        (home / "python").symlink_to(sys.executable)
        monkeypatch.setattr(sys, "executable", os.fspath(home / "python"))
    elif which == "package":
        (home / "tierfs").mkdir()
        monkeypatch.setattr(tierfs, "__path__", [os.fspath(home / "tierfs")])
    else:
        (home / "packages").mkdir()
        monkeypatch.setattr(sys, "path", ["", os.fspath(home / "packages")])
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    assert write_helpers(sbin, NO_UNITS)
    remove_helpers(sbin, NO_UNITS)
    os.chown(home, 11004, 11004)
    with pytest.raises(UsageError, match=f"{home} belongs to user 11004.*chown root.*/opt/tierfs"):
        write_helpers(sbin, NO_UNITS)
    assert list(sbin.iterdir()) == []


@pytest.mark.parametrize("gone", ["interpreter", "module"])
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 32),
        (["-o", "ro,nofailure"], 32),
        (["-n", "-o", "ro,nofail"], 0),
        (["-s", "-o", "nofail", "-t", "tierfs"], 0),
    ],
)
def test_a_helper_whose_interpreter_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str, options: list[str], code: int
) -> None:
    """As after the upgrade of a distribution: a boot must not stop at it where nofail stands."""
    missing = tmp_path / "it's gone"
    if gone == "interpreter":
        monkeypatch.setattr(sys, "executable", os.fspath(missing))
    else:
        monkeypatch.setattr(tierfs, "__path__", [os.fspath(missing / "tierfs")])
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    write_helpers(sbin, NO_UNITS)
    done = subprocess.run(
        [sbin / NAMES[0], "/v.yaml", "/mnt/a b", *options],
        check=False,
        capture_output=True,
        text=True,
        env={},
        timeout=20,
    )
    assert done.returncode == code
    assert f"mount.tierfs: {missing}" in done.stderr
    assert "is gone: install tierfs again" in done.stderr


# ---------------------------------------------------------------- the unit


@pytest.fixture
def units(tmp_path: Path) -> Path:
    directory = tmp_path / "units"
    directory.mkdir()
    return directory


def test_the_unit_goes_where_systemd_is(tmp_path: Path, units: Path) -> None:
    written = write_helpers(tmp_path, units)
    assert written[-1] == units / UNIT
    assert (units / UNIT).stat().st_mode & 0o777 == 0o644
    assert write_helpers(tmp_path, units) == []
    assert remove_helpers(tmp_path, units) == written


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path, units: Path) -> None:
    write_helpers(tmp_path, units)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", units / UNIT.replace("@", "@images")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "tierfs" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_a_foreign_unit_stays(tmp_path: Path, units: Path) -> None:
    (units / UNIT).write_text("[Service]\n")
    with pytest.raises(UsageError, match="was not made by tierfs"):
        write_helpers(tmp_path, units)


# ---------------------------------------------------------------- the command


def test_the_command_writes_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for more in ([], [], ["--remove"], ["--remove"]):
        places = ["--sbin", str(tmp_path), "--units", str(tmp_path / "none")]
        assert main(["install-helpers", *places, *more]) == 0
        said.append(capsys.readouterr().out.splitlines())
    paths = [tmp_path / name for name in NAMES]
    assert said == [
        [f"wrote {path}" for path in paths],
        ["already in place"],
        [f"removed {path}" for path in paths],
        ["nothing to remove"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_a_foreign_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / NAMES[0]).write_text("something else")
    assert main(["install-helpers", "--sbin", str(tmp_path)]) == ExitCode.USAGE
    assert "was not made by tierfs" in capsys.readouterr().err
