from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tierfs.cli.main import main
from tierfs.cli.policy import mounted as mounted_module
from tierfs.common.errors import ExitCode, NotMounted
from tierfs.daemon.mountinfo import Mount

Answer = dict[str, Any]


def answer(result: str, *problems: str, rules: int = 2) -> Answer:
    policy = {"path": "/etc/p.yaml", "rules": rules}
    return {"result": result, "problems": list(problems), "policy": policy}


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Makes mounts `m0`, `m1`, ... of volume files `v0.yaml`, ... that give these answers."""

    def make(*answers: Answer, owner: int = os.geteuid()) -> list[Path]:
        paths = [tmp_path / f"m{number}" for number in range(len(answers))]
        listed = [Mount(Path("/proc"), "proc", "proc", "rw", "rw")]
        for number, path in enumerate(paths):
            path.mkdir()
            (tmp_path / f"v{number}.yaml").touch()
            source = str(tmp_path.resolve() / f"v{number}.yaml")
            listed.append(Mount(path, "fuse.tierfs", source, "rw", f"rw,user_id={owner}"))
        by_path = dict(zip(paths, answers, strict=True))

        def ask(mountpoint: Path, verb: str) -> Answer:
            assert verb == "policy apply"
            if mountpoint not in by_path:
                raise NotMounted(f"{mountpoint} is not a tierfs mountpoint")
            return by_path[mountpoint]

        monkeypatch.setattr(mounted_module, "mounts", lambda: listed)
        monkeypatch.setattr(mounted_module, "ask", ask)
        return paths

    return make


def applied(*arguments: Path) -> int:
    return main(["policy", "apply", *map(str, arguments)])


def test_what_was_done_is_said(
    mounted: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = mounted(answer("applied"), answer("applied", rules=1), answer("unchanged"))
    assert applied(*paths) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{paths[0]}: /etc/p.yaml is in force, with 2 rules",
        f"{paths[1]}: /etc/p.yaml is in force, with 1 rule",
        f"{paths[2]}: /etc/p.yaml was in force already",
    ]


def test_without_a_name_every_mount_is_asked(
    mounted: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = mounted(answer("applied"), answer("unchanged"), {"policy": None})
    assert applied() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(path) for path in paths]
    assert lines[2] == f"{paths[2]}: no policy"


def test_a_volume_file_stands_for_its_mount(
    mounted: Callable[..., list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = mounted(answer("applied"), answer("applied"))
    (tmp_path / "link.yaml").symlink_to("v1.yaml")
    assert applied(tmp_path / "link.yaml") == 0
    assert capsys.readouterr().out.startswith(f"{paths[1]}: ")
    (tmp_path / "other.yaml").touch()
    assert applied(tmp_path / "other.yaml") == ExitCode.NOT_MOUNTED
    said = capsys.readouterr().err
    assert "other.yaml: no mount was made of such a volume file; name the mountpoint" in said
    assert "a policy file is not taken" in said


def test_all_that_is_wrong_is_said(
    mounted: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = mounted(answer("refused", "/etc/p.yaml:2:1: one", "/etc/p.yaml:3:1: two"))
    assert applied(path) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "/etc/p.yaml:2:1: one",
        "/etc/p.yaml:3:1: two",
        f"{path}: the last good policy stays in force",
    ]


def test_one_failure_keeps_no_other_mount_waiting(
    mounted: Callable[..., list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good, without = mounted(answer("refused", "bad"), answer("applied"), {"policy": None})
    assert applied(tmp_path / "none", bad, good, without) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == f"{good}: /etc/p.yaml is in force, with 2 rules\n"
    assert "none is not a tierfs mountpoint" in said.err
    assert f"{bad}: the last good policy stays in force" in said.err
    assert f"{without}: the volume file names no policy; add one (policy: FILE)" in said.err


def test_no_mount_at_all(
    mounted: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    mounted()
    assert applied() == ExitCode.NOT_MOUNTED
    assert "you have no tierfs mount" in capsys.readouterr().err


def test_another_user_s_mounts_are_left_alone(
    mounted: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(answer("applied"), owner=4711)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert applied() == ExitCode.NOT_MOUNTED
