"""``tierfs du`` of a mount says what a walk would."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.once


@pytest.fixture
def tree(mounted: Mount) -> Mount:
    (mounted.path / "a/b").mkdir(parents=True)
    (mounted.path / "empty").mkdir()
    (mounted.path / "a/large").write_bytes(bytes(3 * HEAD))
    (mounted.path / "a/b/small").write_bytes(b"x" * 100)
    (mounted.path / "small").write_bytes(b"x")
    os.link(mounted.path / "small", mounted.path / "a/again")
    return mounted


def du(path: Path, *options: str) -> dict[str, dict[str, int]]:
    """The answer, by path."""
    found = json.loads(tierfs("du", "--json", path, *options))
    return {one.pop("path"): one for one in found["directories"]}


def test_directories_are_summed_up_by_tier(tree: Mount) -> None:
    # The link was made last, so the file counts there.
    a = {"files": 3, "size": 3 * HEAD + 101, "flash": HEAD + 101, "disk": 2 * HEAD, "mirrored": 0}
    nothing = dict.fromkeys(a, 0)
    assert du(tree.path) == {
        f"{tree.path}": a,
        f"{tree.path}/a": a,
        f"{tree.path}/empty": nothing,
    }
    assert list(du(tree.path, "--depth", "2")) == [
        *(f"{tree.path}{below}" for below in ("", "/a", "/a/b", "/empty"))
    ]
    assert du(tree.path / "a", "--depth", "0") == {f"{tree.path}/a": a}


def test_the_table_is_for_people(tree: Mount) -> None:
    lines = [line.split() for line in tierfs("du", tree.path).splitlines()]
    assert lines[0] == ["path", "files", "size", "on", "flash", "mirrored", "on", "disk"]
    assert lines[1][0] == str(tree.path)


def test_what_is_no_directory_of_a_mount_is_refused(tree: Mount, tmp_path: Path) -> None:
    tierfs("du", tmp_path, statuses=(ExitCode.NOT_MOUNTED,))
    tierfs("du", tree.path / "a/large", statuses=(ExitCode.USAGE,))
    tierfs("du", tree.path / "missing", statuses=(ExitCode.USAGE,))


def test_owners_are_summed_up(tree: Mount) -> None:
    os.chown(tree.path / "a/large", 54321, 0)
    shown = json.loads(tierfs("du", "--json", "--by", "owner", tree.path))["owners"]
    large = {"files": 1, "size": 3 * HEAD, "flash": HEAD}
    assert shown == [
        {"owner": "user 54321", "uid": 54321, **large},
        {"owner": "root", "uid": 0, "files": 2, "size": 101, "flash": 101},
    ]
    lines = [line.split() for line in tierfs("du", "--by", "owner", tree.path).splitlines()]
    assert lines[1] == ["user", "54321", "1", "192KiB", "64KiB", "128KiB"]


def test_rules_are_summed_up(make_mount: MakeMount, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text('version: 1\nrules: [{name: in-a, match: {path: "/a/**"}, pin: true}]\n')
    mount = make_mount.formatted()
    mount.configure("policy", str(policy))
    mount.mount()
    (mount.path / "a").mkdir()
    (mount.path / "a/large").write_bytes(bytes(3 * HEAD))
    (mount.path / "small").write_bytes(b"x")
    shown = json.loads(tierfs("du", "--json", "--by", "rule", mount.path))["rules"]
    assert shown == [
        {"rule": "in-a", "files": 1, "size": 3 * HEAD, "flash": HEAD},
        {"rule": None, "files": 1, "size": 1, "flash": 1},
    ]
    assert "(the defaults)" in tierfs("du", "--by", "rule", mount.path)


def test_owners_and_rules_are_those_of_a_whole_mount(tree: Mount) -> None:
    said = tierfs("du", "--by", "owner", tree.path / "a", statuses=(ExitCode.USAGE,))
    assert f"tierfs du --by owner {tree.path}" in said
