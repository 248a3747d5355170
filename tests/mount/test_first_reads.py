"""How far into files is read first is counted, and a policy is proposed that suits it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs_here
from tests.support.proc import wait_until
from tierfs.common.units import KIB
from tierfs.daemon.control_client import ask
from tierfs.policy.tier_policy import load_policy
from tierfs.training import announce
from tierfs.training.order import SOCKETS

FILES = 32
SIZE = 400 * KIB
FAR = {".idx": 20 * KIB, ".jpg": 200 * KIB}
"""How far a loader reads files first."""

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(os.geteuid() != 0, reason="a training client is heard by root's daemon"),
]


@pytest.fixture
def cold(make_mount: MakeMount) -> Mount:
    """A mount with files of two extensions of which the kernel knows nothing."""
    mount = make_mount.formatted()
    mount.configure("training", "{memory: 64MiB}")
    mount.configure("head", "16KiB")
    mount.mount()
    chance = random.Random(1)
    for path in beginnings(mount):
        path.write_bytes(chance.randbytes(SIZE))
    chill(mount)
    return mount


def beginnings(mount: Mount) -> dict[Path, int]:
    """All files, each with how far it is read."""
    return {
        mount.path / f"{number}{extension}": far
        for extension, far in FAR.items()
        for number in range(FILES)
    }


def chill(mount: Mount) -> None:
    mount.remount()
    device = mount.path.stat().st_dev
    socket = SOCKETS / f"training-{os.major(device)}:{os.minor(device)}.sock"
    wait_until(socket.exists, what="announcements are taken")


def known(mount: Mount) -> dict[str, dict[str, Any]]:
    return {one["extension"]: one for one in ask(mount.path, "heads")["extensions"]}


def is_counted(mount: Mount, source: str, extension: str, reads: float = FILES) -> bool:
    one = known(mount).get(extension)
    return one is not None and one["source"] == source and round(one["reads"], 1) >= reads


def wait_until_counted(mount: Mount, source: str) -> None:
    wait_until(
        lambda: all(is_counted(mount, source, extension) for extension in FAR),
        what="first reads are counted",
    )


def test_what_requests_tell_is_an_upper_bound_and_is_kept(cold: Mount) -> None:
    for path, far in beginnings(cold).items():
        with path.open("rb", buffering=0) as file:
            assert len(file.read(far)) == far
    wait_until_counted(cold, "requests")
    told = known(cold)
    assert 20 * KIB <= told[".idx"]["far"] <= 64 * KIB
    assert 200 * KIB <= told[".jpg"]["far"] <= 512 * KIB
    assert {one["whole"] for one in told.values()} == {0}
    assert "upper bound: from requests, read-ahead counted" in tierfs_here("advise", cold.path)
    cold.remount()
    again = known(cold)
    assert {name: one["far"] for name, one in again.items()} == {
        name: one["far"] for name, one in told.items()
    }


LOADER = f"""
import sys
from pathlib import Path
from tierfs.training import announce, record_reads

far = {FAR!r}
with record_reads():
    for path in announce(sys.argv[1:]):
        with open(path, "rb", buffering=0) as file:
            file.read(far[Path(path).suffix])
"""


def test_what_a_training_client_measured_is_proposed(cold: Mount, tmp_path: Path) -> None:
    """The daemon reads whole files ahead for the job, and knows all the same how far it reads."""
    paths = [str(path) for path in beginnings(cold)]
    subprocess.run([sys.executable, "-c", LOADER, *paths], check=True)
    wait_until_counted(cold, "job")
    told = known(cold)
    assert {name: one["far"] for name, one in told.items()} == {".idx": 20 * KIB, ".jpg": 224 * KIB}
    assert all(one["proposed"] for one in told.values())
    better = tmp_path / "better.yaml"
    shown = tierfs_here("advise", cold.path, "--output", better)
    assert "measured by the training client" in shown
    assert "upper bound" not in shown
    policy = load_policy(better, head=16 * KIB)
    # The kernel asks for whole windows of 16 KiB, as long as the head.
    assert [(rule.name, rule.settings.head) for rule in policy.rules] == [
        ("head-idx", 32 * KIB),
        ("head-jpg", 224 * KIB),
    ]
    advised = json.loads(tierfs_here("advise", cold.path, "--json"))
    assert [one["what"] for one in advised["changes"]] == [
        "head: 32KiB for .idx",
        "head: 224KiB for .jpg",
    ]
    assert '+    match: {path: "/**/*.jpg"}' in advised["diff"]
    costs = {name: one["cost"] for name, one in told.items()}
    assert costs[".jpg"] == {
        "files": FILES,
        "size": FILES * SIZE,
        "now": FILES * 16 * KIB,
        "then": FILES * 224 * KIB,
    }


def test_what_is_read_ahead_for_a_job_is_no_first_read(cold: Mount) -> None:
    paths = [str(path) for path in beginnings(cold) if path.suffix == ".jpg"]
    for announced in announce(paths):
        Path(announced).open("rb").close()
    for path in beginnings(cold):
        if path.suffix == ".idx":
            path.read_bytes()
    wait_until(lambda: is_counted(cold, "requests", ".idx"), what="first reads are counted")
    told = known(cold)
    assert set(told) == {".idx"}
    assert told[".idx"]["whole"] == 1
