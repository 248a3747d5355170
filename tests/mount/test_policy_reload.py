"""The policy of a mount follows its file, and a bad file changes nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until

pytestmark = pytest.mark.once

BAD_FILE = 2
"""Exit code of tierfs, as documented."""

BAD = "version: 1\nhaed: 64KiB\nmirror: sometimes\n"


def policy(*names: str) -> str:
    """A policy with a rule of each name."""
    rules = "".join(
        f"  - {{name: {one}, match: {{path: '/{one}/**'}}, pin: true}}\n" for one in names
    )
    return f"version: 1\nrules:\n{rules}"


class Governed:
    """A mounted volume with a policy of one rule."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self.path = mount.volume_file.parent / "policy.yaml"
        self.path.write_text(policy("a"))
        mount.configure("policy", "policy.yaml")

    def status(self) -> dict[str, Any]:
        found = self.mount.status()["policy"]
        assert isinstance(found, dict)
        return found

    def wait(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of which `what` holds."""
        seen: list[dict[str, Any]] = []

        def holds() -> bool:
            seen.append(self.status())
            return what(seen[-1])

        wait_until(holds, what="the policy is as expected")
        return seen[-1]

    def wait_for_rules(self, count: int, by: str) -> None:
        status = self.wait(lambda status: status["rules"] == count)
        assert status["by"] == by
        assert status["problems"] is None


@pytest.fixture
def formatted(make_mount: MakeMount) -> Governed:
    return Governed(make_mount.formatted())


@pytest.fixture
def governed(formatted: Governed) -> Governed:
    listen(formatted.mount)
    formatted.mount.mount()
    return formatted


def test_every_way_of_saving(governed: Governed) -> None:
    status = governed.status()
    assert (status["path"], status["by"], status["rules"]) == (str(governed.path), "mount", 1)
    governed.path.write_text(policy("a", "b"))
    governed.wait_for_rules(2, "save")
    new = governed.path.with_name("new")
    new.write_text(policy("a", "b", "c"))
    new.rename(governed.path)
    governed.wait_for_rules(3, "save")
    new.write_text(policy("d"))
    governed.path.unlink()
    governed.path.symlink_to("new")
    governed.wait_for_rules(1, "save")


def test_asked_by_signal_and_by_command(governed: Governed) -> None:
    mount = governed.mount
    governed.path.write_text(policy("a", "b"))
    assert "is in force, with 2 rules" in tierfs("policy", "apply", mount.path)
    assert governed.status()["rules"] == 2
    assert "was in force already" in tierfs("policy", "apply", mount.volume_file)
    governed.path.write_text(policy("a", "b", "c"))
    os.kill(mount.pid, signal.SIGHUP)
    status = governed.wait(lambda status: status["rules"] == 3)
    assert status["by"] in {"SIGHUP", "save"}  # a look may come in between
    assert "SIGHUP: reading the tier policy again" in mount.log.text()


def test_bad_then_good(governed: Governed) -> None:
    mount = governed.mount
    governed.path.write_text(BAD)
    problems = governed.wait(lambda status: status["problems"] is not None)["problems"]
    assert [line.partition(": ")[0] for line in problems["lines"]] == [
        f"{governed.path}:2:1",
        f"{governed.path}:3:9",
    ]
    assert (governed.status()["rules"], governed.status()["by"]) == (1, "mount")
    log, shown = mount.log.text(), tierfs("status", mount.path)
    said = tierfs("policy", "apply", mount.path, statuses=[BAD_FILE])
    for line in problems["lines"]:
        assert (log.count(line), shown.count(line), said.count(line)) == (1, 1, 1)
    samples = scrape(mount)
    assert samples["tierfs_policy_valid"] == 0
    assert samples['tierfs_policy_loads_total{result="refused"}'] == 2
    loaded = samples["tierfs_policy_loaded_timestamp_seconds"]
    assert loaded == pytest.approx(governed.status()["since"], abs=0.001)
    (mount.path / "file").write_bytes(b"the mount lives on")
    governed.path.write_text(policy("a", "b"))
    tierfs("policy", "apply", mount.path)
    samples = scrape(mount)
    assert samples["tierfs_policy_valid"] == 1
    assert samples['tierfs_policy_loads_total{result="applied"}'] == 2
    assert samples["tierfs_policy_loaded_timestamp_seconds"] > loaded


def test_a_bad_policy_is_not_mounted(formatted: Governed) -> None:
    mount = formatted.mount
    formatted.path.write_text(BAD)
    said = tierfs("mount", mount.volume_file, mount.path, statuses=[BAD_FILE])
    assert [line.partition(": ")[0] for line in said.splitlines()] == [
        f"{formatted.path}:2:1",
        f"{formatted.path}:3:9",
    ]
    formatted.path.unlink()
    said = tierfs("mount", mount.volume_file, mount.path, statuses=[BAD_FILE])
    assert f"{formatted.path}: cannot be read: No such file" in said
    assert not mount.is_mounted()


def test_a_policy_below_the_mountpoint_would_be_hidden(formatted: Governed) -> None:
    mount = formatted.mount
    inside = mount.path / "policy.yaml"
    formatted.path.rename(inside)
    mount.configure("policy", str(inside))
    said = tierfs("mount", mount.volume_file, mount.path, statuses=[5])
    assert f"would hide {inside}" in said
    inside.unlink()


def test_a_policy_that_leads_into_its_own_mount(governed: Governed) -> None:
    inside = governed.mount.path / "policy.yaml"
    inside.write_text(policy("a", "b"))
    governed.path.unlink()
    governed.path.symlink_to(inside)
    said = tierfs("policy", "apply", governed.mount.path, statuses=[BAD_FILE])
    assert "is inside the mount that it is for" in said
    assert governed.status()["rules"] == 1
    governed.mount.unmount()


def test_a_volume_without_a_policy(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert mount.status()["policy"] is None
    assert "names no policy" in tierfs("policy", "apply", mount.path, statuses=[BAD_FILE])
    os.kill(mount.pid, signal.SIGHUP)
    wait_until(lambda: "no tier policy to read" in mount.log.text(), what="SIGHUP is obeyed")
    assert Path(mount.path).is_dir()


def test_saves_and_requests_all_at_once_while_it_is_unmounted(governed: Governed) -> None:
    mount = governed.mount
    for number in range(20):
        governed.path.write_text(policy(*(f"r{one}" for one in range(number + 1))))
        os.kill(mount.pid, signal.SIGHUP)
    mount.unmount()
    assert not mount.is_mounted()
