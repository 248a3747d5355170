"""All of stress-ng's filesystem stressors at once give no error that a native filesystem spares."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.proc import Argument, run

SECONDS = int(os.environ.get("TIERFS_STRESS_CLASS_SECONDS", "3"))
"""How long the stressors run; in the long run five minutes. As long again on a native filesystem,
when the mount has given errors."""

LONG = 20
"""Seconds from which on a run takes all stressors."""

FAILED = 2
"""Exit status of stress-ng(1) when a stressor failed; others say that something is not offered."""

COMPLAINT = re.compile(r"^stress-ng: fail: +\[\d+\] ((\S+): .*)$", re.MULTILINE)
ENDED = re.compile(r"^stress-ng: error: +\[\d+\] (process \[\d+\] \((\S+)\) .*)$", re.MULTILINE)
"""What a stressor says of the filesystem, and what is said of a stressor that ended early."""

PARTICULAR = re.compile(r"/\S+|\b0x[0-9a-f]+\b|\d+")
"""What differs from one run to the next in a complaint: paths and numbers."""

SMALL = ("hdd", "iomix", "fallocate")
"""Stressors that would write a gigabyte."""

LENGTHY = ("link", "symlink", "dentry")
"""Stressors that make and remove thousands of names before they look at the time."""


NO_FALLOCATE = (
    "pyfuse3 has no handler for fallocate(2): stress-ng imitates it by writes, which it leaves"
    " out when its time is over"
)
EXCUSED = {
    r"file-ioctl: ioctl FIOQSIZE failed, size .*": (
        "the kernel answers from the block count that it remembers of a file, and asks no FUSE"
        " filesystem: what was written since the last stat is missing"
    ),
    r"fsize: fallocate unexpectedly succeeded at .*, expecting EFBIG error": NO_FALLOCATE,
    r"fsize: expected a SIGXFSZ signal at .*, nothing happened": NO_FALLOCATE,
    r"inotify: timed waiting for event flags 0x400": (
        "IN_DELETE_SELF comes when the last reference to the file goes, on every filesystem, and"
        " the stressor fanotify holds one to each file of the mount until it has read its event"
    ),
}
"""Complaints that are due to the kernel or the binding, and why."""


@dataclass
class Result:
    """How a run ended: exit status, complaints by their form without particulars, early ends."""

    status: int
    complaints: dict[str, str] = field(default_factory=dict)
    stressors: set[str] = field(default_factory=set)
    ends: dict[str, str] = field(default_factory=dict)


@pytest.mark.timeout(2 * SECONDS + 300)
def test_class_filesystem(mounted: Mount, scratch: Path) -> None:
    mount = stress(mounted.path, SECONDS)
    if not mount.complaints and mount.status != FAILED:
        return
    native = stress(scratch, SECONDS)
    new = [line for form, line in mount.complaints.items() if form not in native.complaints]
    # Who complains of what a native filesystem does as well ends after five complaints.
    new += [line for name, line in mount.ends.items() if name not in mount.stressors]
    assert not new, "\n".join(new)


def stress(folder: Path, seconds: int) -> Result:
    """Let all stressors of the class work in `folder` at the same time."""
    sizes = [option for name in SMALL for option in (f"--{name}-bytes", "8m")]
    chosen = ["--class", "filesystem", "--all", "1", "--verify", "-t", f"{seconds}s", *sizes]
    # A short run leaves them to the groups of stressors in `test_stress_ng`.
    left_out = ["-x", ",".join(LENGTHY)] if seconds < LONG else []
    command: list[Argument] = ["stress-ng", *chosen, *left_out, "--temp-path", folder]
    done = run(command, timeout=seconds + 120, statuses=range(256))
    sys.stdout.write(f"{done.stdout}\n{done.stderr}")
    output = f"{done.stdout}\n{done.stderr}"
    result = Result(done.returncode)
    for line, stressor in COMPLAINT.findall(output):
        result.stressors.add(stressor)
        if not any(re.fullmatch(pattern, line) for pattern in EXCUSED):
            result.complaints[PARTICULAR.sub("N", line)] = line
    result.ends = {stressor: line for line, stressor in ENDED.findall(output)}
    return result
