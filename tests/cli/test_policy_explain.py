"""`tierfs policy explain` of files on a mount, by the policy in force."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until

POLICY = """\
version: 1
rules:
  - {name: marked, match: {xattr: {user.state: hot}}, head: all, pin: true}
  - {name: idle, match: {idle: "> 30d"}, head: none}
  - {name: here, match: {path: "/in/**"}, head: 8KiB}
"""


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    made = make_mount.formatted()
    (made.volume_file.parent / "policy.yaml").write_text(POLICY)
    made.configure("policy", "policy.yaml")
    made.mount()
    (made.path / "in").mkdir()
    (made.path / "in/a").write_bytes(b"x" * 100_000)
    (made.path / "b").write_bytes(b"b")
    return made


def explained(*paths: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(tierfs("policy", "explain", "--json", *paths))
    return found


def idle_rule(path: Path) -> str:
    """What became of the rule about idle time."""
    verdict: str = explained(path)[0]["rules"][1]["verdict"]
    return verdict


def test_the_mount_tells_what_it_knows(mount: Mount) -> None:
    # When the mount has begun to watch, it knows that nobody read the file since it was made.
    wait_until(lambda: idle_rule(mount.path / "b") == "does not match", what="reads are watched")
    first, second = explained(mount.path / "b", mount.path / "in/a")
    assert (first["path"], first["rule"]) == (str(mount.path / "b"), None)
    assert second["rule"] == "here"
    assert second["settings"]["head"] == second["wanted"] == 8192
    assert (second["size"], second["on_flash"], second["pinned"]) == (100_000, 65536, False)
    assert second["rules"][2]["findings"][0]["found"] == "/in/a"
    said = tierfs("policy", "explain", mount.path / "in/a")
    assert "\n  wanted there  at least its first 8KiB\n" in said


def test_reads_and_pins_by_hand_are_regarded(mount: Mount) -> None:
    path = mount.path / "in/a"
    mount.remount()
    path.read_bytes()
    wait_until(lambda: explained(path)[0]["reads"] is not None, what="the mount knows of a read")
    assert explained(path)[0]["reads"] == pytest.approx(1, abs=0.9)
    os.setxattr(path, "tierfs.pin", b"1")
    (found,) = explained(path)
    assert (found["pinned"], found["wanted"], found["why"]) == (True, "all", "pin by hand")
    said = tierfs("policy", "explain", path)
    assert re.search(r"(?m)^  reads         [0-9.]+ recent requests, the last [0-9.]+s ago$", said)
    assert "\n  => here       head 8KiB," in said
    assert "\n  wanted there  all of it: pinned by hand, whatever the rule says" in said
    os.setxattr(mount.path / "b", "user.state", b"hot")
    said = tierfs("policy", "explain", mount.path / "b")
    assert "\n  wanted there  all of it: the rule pins it\n" in said


def test_what_cannot_be_explained(mount: Mount, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    names = (mount.path / "none", mount.path / "in", tmp_path / "elsewhere", mount.path / "b")
    said = tierfs("policy", "explain", *names, statuses=[2])
    assert f"\n{mount.path / 'b'}\n" in f"\n{said}"
    assert "none: No such file or directory; check the name" in said
    assert "in: not a regular file" in said
    assert "elsewhere: not on a tierfs mount; name a policy with --policy" in said
    (mount.volume_file.parent / "policy.yaml").write_text("haed: 1\n")  # not in force
    assert explained(mount.path / "in/a")[0]["rule"] == "here"
    said = tierfs("policy", "explain", "--idle", "1d", mount.path / "b", statuses=[2])
    assert "need --policy" in said


def test_a_mount_without_a_policy(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "a").touch()
    said = tierfs("policy", "explain", mount.path / "a", statuses=[2])
    assert "the mount has no policy; name one with --policy" in said
