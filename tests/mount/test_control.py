from __future__ import annotations

import contextlib
import errno
import inspect
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore
from typing import Any, TypeVar
from uuid import UUID

import pytest

from tests.guards.logs import ExpectLog
from tests.support.proc import wait_until
from tierfs.common.errors import NotMounted, UsageError
from tierfs.common.metrics import Metrics
from tierfs.daemon import control_client, listener
from tierfs.daemon import runtime as runtime_files
from tierfs.daemon.control import CHECKS, MAX_SLOW, Verb, serving_control
from tierfs.daemon.control_client import ask
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.policy import explain_files
from tierfs.daemon.runtime import socket_path

pytestmark = pytest.mark.once

T = TypeVar("T")
VOLUME = UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a short name: the path of a socket holds 107 bytes."""
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home, "run")
        monkeypatch.setattr(runtime_files, "runtime_directory", lambda _uid: directory)
        yield directory


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that looks like the mount of VOLUME."""
    found = Mount(tmp_path, "fuse.tierfs", "/v.yaml", "rw", f"rw,user_id={os.geteuid()}")
    monkeypatch.setattr(control_client, "tierfs_at", lambda _path: found)
    monkeypatch.setattr(control_client, "volume_of", lambda _mount: VOLUME)
    return tmp_path


def broken() -> dict[str, Any]:
    raise RuntimeError("out of order")


def refusing() -> dict[str, Any]:
    raise UsageError("not like this")


def typed(
    inos: list[int],
    number: int = 0,
    name: str = "",
    names: list[str] = [],  # noqa: B006 - never changed
    *,
    sure: bool = False,
) -> dict[str, Any]:
    return {"inos": inos, "number": number, "name": name, "names": names, "sure": sure}


VERBS: dict[str, Verb] = {
    "status": lambda: {"pid": 7, "name": "\N{SNOWMAN}"},
    "broken": broken,
    "refusing": refusing,
    "told": lambda *, names: {"names": names},
    "typed": typed,
}


def served(client: Callable[[], T]) -> T:
    """What `client` returns, called while the socket is served."""
    with serving_control(VOLUME, VERBS, Metrics()):
        return client()


def raw(request: bytes) -> dict[str, Any]:
    def exchange() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(os.fspath(socket_path(VOLUME)))
            asking.sendall(request)
            asking.shutdown(socket.SHUT_WR)
            return asking.makefile("rb").read()

    reply: dict[str, Any] = json.loads(served(exchange))
    return reply


def test_a_verb_is_answered(mount: Path) -> None:
    assert served(lambda: ask(mount, "status")) == {"pid": 7, "name": "\N{SNOWMAN}"}


def test_a_verb_is_given_its_arguments(mount: Path) -> None:
    names = ["a", "\N{SNOWMAN}"]
    assert served(lambda: ask(mount, "told", names=names)) == {"names": names}


def test_what_a_verb_refuses_is_no_mistake_of_the_daemon(mount: Path) -> None:
    def wrong() -> None:
        with pytest.raises(NotMounted, match="refused: not like this"):
            ask(mount, "refusing")

    served(wrong)


def test_an_unknown_verb_is_refused(mount: Path) -> None:
    def wrong() -> None:
        with pytest.raises(NotMounted, match=r"refused: .* broken, refusing, status, told, typed"):
            ask(mount, "stop")

    served(wrong)


def test_a_verb_that_fails_is_logged_and_answered(mount: Path, expect_log: ExpectLog) -> None:
    expect_log("control verb 'broken' failed")

    def wrong() -> None:
        with pytest.raises(NotMounted, match="RuntimeError: out of order"):
            ask(mount, "broken")

    served(wrong)


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"7\n",
        b'{"verb": []}\n',
        b'{"verb": "told", "arguments": 7}\n',
        b"",
        b"\xff\n",
    ],
)
def test_nonsense_is_answered(request_: bytes) -> None:
    assert "one JSON line" in raw(request_)["error"]


def test_a_line_without_end_is_cut() -> None:
    assert "one JSON line" in raw(b"x" * listener.MAX_REQUEST)["error"]


def test_a_silent_client_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "REQUEST_SECONDS", 0.05)

    def silent() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(os.fspath(socket_path(VOLUME)))
            return asking.recv(1)

    assert served(silent) == b""


def test_the_socket_is_private_and_goes_away(runtime: Path) -> None:
    modes = served(lambda: [p.stat().st_mode & 0o777 for p in (runtime, *runtime.iterdir())])
    assert modes == [0o755, 0o600]
    assert list(runtime.iterdir()) == []


def test_a_socket_left_behind_is_replaced(mount: Path, runtime: Path) -> None:
    runtime.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(socket_path(VOLUME)))
    assert served(lambda: ask(mount, "status"))["pid"] == 7


def test_no_daemon_is_told(mount: Path) -> None:
    with pytest.raises(NotMounted, match="does not answer"):
        ask(mount, "status")


@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.ENOTCONN, "its daemon is gone; mount it again"), (errno.EIO, "does not answer: ")],
)
def test_a_mount_left_behind_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, said: str
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(control_client, "within", fail)
    with pytest.raises(NotMounted, match=said):
        control_client.volume_of(Mount(tmp_path, "fuse.tierfs", "/v.yaml", "rw", "rw"))


def test_another_users_directory_is_not_trusted(
    runtime: Path, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("control socket: not served: .* belongs to another user; it is tried again")
    runtime.mkdir()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with serving_control(VOLUME, VERBS, Metrics()) as control:
        assert not control.state.serving
    assert list(runtime.iterdir()) == []


def test_a_path_too_long_for_a_socket_is_told(
    monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("control socket: not served: .*path too long")
    with tempfile.TemporaryDirectory() as home:
        deep = Path(home, "x" * 100)
        monkeypatch.setattr(runtime_files, "runtime_directory", lambda _uid: deep)
        served(lambda: None)


def test_a_socket_that_cannot_be_made_is_made_later(
    runtime: Path, mount: Path, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("control socket: not served")
    monkeypatch.setattr(listener, "RETRY_SECONDS", 0.05)
    runtime.write_text("a file in the way")
    with serving_control(VOLUME, VERBS, Metrics()) as control:
        assert not control.state.serving
        runtime.unlink()
        wait_until(lambda: control.state.serving, what="the socket")
        assert ask(mount, "status")["pid"] == 7


def test_slow_verbs_leave_room_for_quick_ones(mount: Path) -> None:
    release, begun = Event(), Semaphore(0)

    def slow() -> dict[str, Any]:
        begun.release()
        release.wait(20)
        return {}

    with (
        serving_control(VOLUME, {**VERBS, "slow": slow}, Metrics()),
        ThreadPoolExecutor() as others,
    ):
        asked = [others.submit(ask, mount, "slow") for _ in range(MAX_SLOW)]
        for _ in asked:
            assert begun.acquire(timeout=20)
        with pytest.raises(NotMounted, match="too many requests at a time"):
            ask(mount, "slow")
        assert ask(mount, "status")["pid"] == 7
        release.set()
        assert [one.result(20) for one in asked] == [{}] * MAX_SLOW


def test_a_plain_directory_is_not_a_mount(tmp_path: Path) -> None:
    with pytest.raises(NotMounted, match="is not a tierfs mountpoint"):
        ask(tmp_path, "status")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, '"typed" needs the argument "inos"'),
        ({"inos": [], "x\x1b": 1}, '"typed" takes no argument "x\\x1b"'),
        ({"inos": 7}, '"inos" must be a list of whole numbers'),
        ({"inos": [1.5]}, '"inos" must be a list of whole numbers'),
        ({"inos": [True]}, '"inos" must be a list of whole numbers'),
        ({"inos": [2**63]}, '"inos" must be a list of whole numbers'),
        ({"inos": [], "number": "7"}, '"number" must be a whole number'),
        ({"inos": [], "name": None}, '"name" must be text'),
        ({"inos": [], "names": [1]}, '"names" must be a list of texts'),
        ({"inos": [], "sure": 1}, '"sure" must be true or false'),
    ],
)
def test_bad_arguments_are_answered_not_logged(arguments: dict[str, object], said: str) -> None:
    """The guard on logs fails the test if one of them is."""
    assert said in raw(json.dumps({"verb": "typed", "arguments": arguments}).encode())["error"]


def test_good_arguments_arrive() -> None:
    arguments = {"inos": [1, 2**63 - 1], "number": -1, "name": "a", "names": ["b"], "sure": True}
    assert raw(json.dumps({"verb": "typed", "arguments": arguments}).encode()) == {
        "result": arguments
    }


def test_every_verb_of_a_mount_says_what_it_takes() -> None:
    assert inspect.signature(explain_files).parameters["inos"].annotation in CHECKS


@pytest.mark.parametrize(
    "answer",
    [b"[" * 100_000 + b"\n", b"7\n", b"\n", b"\xff\n", b'{"result": 7}\n', b"x" * 2000 + b"\n"],
)
def test_whatever_a_daemon_answers_is_told(
    mount: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """It may be another user's."""
    monkeypatch.setattr(control_client, "MAX_ANSWER", 1000)
    path = socket_path(VOLUME)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(os.fspath(path))
        listening.listen()

        def reply() -> None:
            with listening.accept()[0] as peer:
                peer.recv(1000)
                with contextlib.suppress(OSError):
                    peer.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        with pytest.raises(NotMounted, match=r"does not answer|refused"):
            ask(mount, "status")
        thread.join()


def test_nobody_else_answers_for_a_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Mount(tmp_path, "fuse.tierfs", "/v.yaml", "rw", f"rw,user_id={os.geteuid() + 1}")
    monkeypatch.setattr(control_client, "tierfs_at", lambda _path: found)
    monkeypatch.setattr(control_client, "volume_of", lambda _mount: VOLUME)
    monkeypatch.setattr(control_client, "_UCRED", FakeCredentials())

    def wrong() -> None:
        with pytest.raises(NotMounted, match="user with ID 12345 listens there"):
            ask(tmp_path, "status")

    served(wrong)


class FakeCredentials:
    size = 12

    def unpack(self, _data: bytes) -> tuple[int, int, int]:
        return 1, 12345, 12345


def test_a_directory_that_others_may_write_to_is_closed(mount: Path, runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    assert served(lambda: ask(mount, "status"))["pid"] == 7
    assert runtime.stat().st_mode & 0o777 == 0o755


def test_the_directory_is_no_link(runtime: Path, tmp_path: Path, expect_log: ExpectLog) -> None:
    expect_log("control socket: not served: ")
    runtime.symlink_to(tmp_path)
    with serving_control(VOLUME, VERBS, Metrics()) as control:
        assert not control.state.serving
    assert list(tmp_path.iterdir()) == []
