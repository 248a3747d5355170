"""Threads that answer requests do not wait behind programs that compute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.scheduling import shortest_slice, slice_of

pytestmark = pytest.mark.once


def test_who_answers_requests_preempts_who_computes(make_mount: MakeMount) -> None:
    mount = make_mount("fastpath")
    (mount.path / "file").write_bytes(b"bytes")
    slices = {
        (task / "comm").read_text().strip(): slice_of(int(task.name))
        for task in Path(f"/proc/{mount.pid}/task").iterdir()
    }
    assert slices["tierfs-lead"] == slices["tierfs-standby"] == shortest_slice()
    assert slice_of(mount.pid) == slice_of(0), "the daemon itself has an ordinary slice"
