from __future__ import annotations

from pathlib import Path

import pytest

from tierfs.cli.main import main
from tierfs.common.errors import ExitCode
from tierfs.daemon import helpers
from tierfs.daemon.helpers import NAMES


@pytest.fixture(autouse=True)
def _trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests also run in a checkout of somebody who is not root."""
    monkeypatch.setattr(helpers, "exposed", lambda _path: None)


def test_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for more in ([], [], ["--remove"], ["--remove"]):
        assert main(["install-helpers", "--sbin", str(tmp_path), *more]) == 0
        said.append(capsys.readouterr().out.splitlines())
    paths = [tmp_path / name for name in NAMES]
    assert said == [
        [f"wrote {path}" for path in paths],
        ["already in place"],
        [f"removed {path}" for path in paths],
        ["nothing to remove"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / NAMES[0]).write_text("something else")
    assert main(["install-helpers", "--sbin", str(tmp_path)]) == ExitCode.USAGE
    assert "was not made by tierfs" in capsys.readouterr().err
