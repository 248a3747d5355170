"""stress-ng's filesystem stressors give no error that a native filesystem does not give."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.proc import Argument, run

pytestmark = pytest.mark.long

SECONDS = int(os.environ.get("TIERFS_STRESS_SECONDS", "2"))
"""How long each group of stressors runs; in the long run a minute."""

PASSED, NOT_OFFERED = 0, 4
"""Exit statuses of stress-ng(1); the second: the filesystem lacks what is stressed."""

GROUPS = {
    "attributes": ("access", "chmod", "chown", "fstat", "touch", "utime", "xattr"),
    "directories": ("chdir", "dentry", "dir", "dirdeep", "dirmany", "getdent", "filename"),
    "names": ("inotify", "link", "mknod", "open", "rename", "symlink"),
    "data": ("copy-file", "hdd", "iomix", "sync-file"),
    "locks": ("fcntl", "flock", "lockf", "locka"),
}
"""What runs at the same time, one process of each."""

LACKING = ("chattr", "fallocate", "fiemap", "fpunch", "inode-flags", "verity")
"""What pyfuse3 has no handler for: these may be refused, but must not fail otherwise."""


@pytest.mark.timeout(2 * SECONDS + 220)
@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_stressors_passes_as_on_a_native_filesystem(
    mounted: Mount, scratch: Path, group: str
) -> None:
    status, output = stress(GROUPS[group], mounted.path)
    if status != PASSED:
        native, _ = stress(GROUPS[group], scratch)
        assert status == native, output


@pytest.mark.timeout(2 * SECONDS + 220)
@pytest.mark.parametrize("stressor", LACKING)
def test_what_is_lacking_is_refused(mounted: Mount, stressor: str) -> None:
    status, output = stress([stressor], mounted.path, seconds=1)
    assert status in {PASSED, NOT_OFFERED}, output


def stress(stressors: Sequence[str], folder: Path, *, seconds: int = SECONDS) -> tuple[int, str]:
    """Exit status and output of stressors that all work in `folder`."""
    chosen = [option for stressor in stressors for option in (f"--{stressor}", "1")]
    limits: list[Argument] = [
        "-t",
        f"{seconds}s",
        "--verify",
        "--temp-path",
        folder,
        "--hdd-bytes",
        "8m",
    ]
    done = run(["stress-ng", *chosen, *limits], timeout=seconds + 100, statuses=range(256))
    return done.returncode, f"{done.stdout}\n{done.stderr}"
