"""The mount guard: a tierfs mount that the run leaves behind is an error of its last test."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

TYPE = "fuse.tierfs"
TAG = "TIERFS_TEST_RUN"
GRACE = 2.0
"""Seconds given to a daemon that is just going away."""


def tierfs_mounts(mountinfo: str) -> set[str]:
    """The mountpoints of type ``fuse.tierfs``, as escaped by proc(5)."""
    fields = [line.split(" - ", 1) for line in mountinfo.splitlines()]
    return {left.split()[4] for left, right in fields if right.split()[0] == TYPE}


def current_mounts() -> set[str]:
    """The mountpoints of type ``fuse.tierfs`` that this process sees now."""
    return tierfs_mounts(Path("/proc/self/mountinfo").read_text())


def served_by_another_run(mountpoint: str, tag: str) -> bool:
    """Whether a live daemon that this run did not start serves ``mountpoint``."""
    wanted = os.fsencode(mountpoint).decode("unicode_escape").encode("latin-1")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or of another user
            continue
        if wanted in arguments and f"{TAG}={tag}".encode() not in environment:
            return True
    return False


def left_behind(before: set[str], tag: str) -> list[str]:
    """Mounts that are new since ``before`` and not the work of someone else on this machine."""
    deadline = time.monotonic() + GRACE
    while (new := current_mounts() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return sorted(mount for mount in new if not served_by_another_run(mount, tag))


@pytest.fixture(scope="session", autouse=True)
def mount_guard() -> Iterator[None]:
    """Compare the mounts before the first and after the last test."""
    before = current_mounts()
    os.environ[TAG] = tag = uuid.uuid4().hex
    yield
    del os.environ[TAG]
    if mounts := left_behind(before, tag):
        pytest.fail("\n".join(["still mounted after the run:", *mounts]), pytrace=False)
