"""Any bytes on the control socket of a daemon: it answers, logs no traceback, and lives."""

from __future__ import annotations

import json
import os
import socket

from tests.fuzz.mutator import SEED, mutations
from tests.support.mounting import Mount
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.mountpoint import tierfs_at
from tierfs.daemon.runtime import socket_path

CORPUS = [
    b'{"verb": "status"}\n',
    b'{"verb": "policy apply", "arguments": {}}\n',
    b'{"verb": "policy explain", "arguments": {"inos": [1, 4711]}}\n',
    b'{"verb": "policy plan"}\n',
]


def test_a_daemon_answers_anything(mounted: Mount) -> None:
    path = os.fspath(socket_path(volume_of(tierfs_at(mounted.path))))
    for request in mutations(CORPUS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(20)
            asking.connect(path)
            try:
                asking.sendall(request)
                asking.shutdown(socket.SHUT_WR)
                answer = asking.makefile("rb").readline()
            except (BrokenPipeError, ConnectionResetError):
                continue  # it needs no more of a line that is too long
        assert json.loads(answer).keys() <= {"result", "error"}, (SEED, request[:200])
    assert mounted.status()["pid"] == mounted.pid
    mounted.log.check()
