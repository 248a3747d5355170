"""A control request that Python's JSON reader cannot take does not end the daemon."""

from __future__ import annotations

import json
import os
import socket

from tests.support.mounting import Mount
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.mountpoint import tierfs_at
from tierfs.daemon.runtime import socket_path

NESTED = b"[" * 60_000 + b"\n"
"""Deeper than Python's stack, shorter than the longest line."""


def test_deep_nesting_is_answered(mounted: Mount) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(os.fspath(socket_path(volume_of(tierfs_at(mounted.path)))))
        asking.sendall(NESTED)
        answer = json.loads(asking.makefile("rb").readline())
    assert "one JSON line" in answer["error"]
    assert mounted.status()["pid"] == mounted.pid
