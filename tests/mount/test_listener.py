"""Clients of metrics and control socket, many, idle, slow or rude: none costs the mount."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import run, wait_until
from tierfs.common.metrics import Metrics
from tierfs.daemon import listener
from tierfs.daemon.control_client import volume_of
from tierfs.daemon.listener import MAX_WAITING, Listener, Service
from tierfs.daemon.metrics import metrics_listener
from tierfs.daemon.mountpoint import tierfs_at
from tierfs.daemon.runtime import socket_path

IDLE = 230
NESTED = b"[" * 60_000 + b"\n"
"""Deeper than Python's stack, shorter than the longest line."""


@contextlib.contextmanager
def serving(made: Listener) -> Iterator[Listener]:
    made.start()
    try:
        yield made
    finally:
        made.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def port() -> Iterator[int]:
    metrics = Metrics()
    port = free_port()
    made = metrics_listener(("127.0.0.1", port), metrics.registry, metrics, lambda: None)
    with serving(made):
        yield port


def said(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request)
        with client.makefile("rb") as answer:
            return answer.read()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"\xff\r\n\r\n", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n", b"400 Bad Request"),
        (b"x" * listener.MAX_REQUEST, b"400 Bad Request"),
    ],
)
def test_http(port: int, request_: bytes, status: bytes) -> None:
    first = said(port, request_).partition(b"\r\n")[0]
    assert first == b"HTTP/1.1 " + status


def test_newer_clients_are_served_before_idle_ones(port: int) -> None:
    with contextlib.ExitStack() as idle:
        for _ in range(IDLE):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        page = said(port, b"GET / HTTP/1.1\r\n\r\n").decode()
    assert "200 OK" in page
    # The scrape was one more.
    refused = f'tierfs_connections_refused_total{{listener="metrics"}} {IDLE + 1 - MAX_WAITING}.0'
    assert refused in page


def test_few_descriptors_are_left_to_the_filesystem(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "descriptors_for_connections", lambda: 3)
    with contextlib.suppress(ConnectionError):
        assert said(port, b"GET / HTTP/1.1\r\n\r\n") == b""
    monkeypatch.undo()
    assert b"200 OK" in said(port, b"GET / HTTP/1.1\r\n\r\n")


def test_a_listener_outlives_every_failure(
    monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("not served: a bug")
    expect_log("a request could not be answered")
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.02)
    port, failures = free_port(), iter([True, False])

    def bind() -> socket.socket:
        if next(failures, False):
            raise RuntimeError("a bug")
        return socket.create_server(("127.0.0.1", port))

    def answer(data: bytes, _peer: socket.socket) -> bytes:
        if data == b"fail\n":
            raise KeyError("a bug")
        return data

    service = Service("echo", lambda data: data.endswith(b"\n"), answer, busy=b"busy\n")
    with serving(Listener(service, bind, Metrics())) as echo:
        wait_until(lambda: echo.state.serving, what="the second attempt")
        assert said(port, b"fail\n") == b""
        assert said(port, b"hello\n") == b"hello\n"


def test_idle_connections_leave_the_mount_its_descriptors(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    listen(mount)
    # As a service manager may start it: 256 descriptors, of which 230 connections took most.
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "from tierfs.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    run([sys.executable, "-c", code, "mount", mount.volume_file, mount.path])
    mount.pid = int(mount.status()["pid"])
    with contextlib.ExitStack() as idle:
        for _ in range(IDLE):
            idle.enter_context(socket.create_connection(("127.0.0.1", mount.metrics_port)))
        for number in range(50):
            (mount.path / f"file-{number}").write_bytes(b"x" * 100_000)
        assert scrape(mount)['tierfs_connections_refused_total{listener="metrics"}'] > 0
        held = len(os.listdir(f"/proc/{mount.pid}/fd"))
        assert held < IDLE


def test_the_soft_limit_is_raised(make_mount: MakeMount) -> None:
    mount = make_mount()
    limits = Path(f"/proc/{mount.pid}/limits").read_text()
    words = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()
    assert words[3] == words[4] == str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def test_a_taken_port_keeps_no_data_from_being_mounted(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mount.configure("metrics", f"{{listen: '127.0.0.1:{port}'}}")
        mount.mount()
        (mount.path / "file").write_text("served")
        told = mount.status()["metrics"]
        assert told["listen"] == f"127.0.0.1:{port}"
        assert not told["serving"]
        assert "in use" in told["error"]
        assert "metrics: not served" in mount.log.text()
    mount.metrics_port = port
    wait_until(lambda: bool(mount.status()["metrics"]["serving"]), what="the port is taken over")
    assert scrape(mount)['tierfs_tier_answers{tier="flash"}'] == 1


def test_a_request_nested_too_deeply_for_json_is_answered(mounted: Mount) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(os.fspath(socket_path(volume_of(tierfs_at(mounted.path)))))
        asking.sendall(NESTED)
        answer = json.loads(asking.makefile("rb").readline())
    assert "one JSON line" in answer["error"]
    assert mounted.status()["pid"] == mounted.pid
