"""The client: what it does without a daemon, and with one that this test plays."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tierfs.training import AnnouncedSampler, announce, connection, order


class Sampler:
    """As torch.utils.data has them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        numbers = list(range(self.count))
        random.Random(self.epoch).shuffle(numbers)
        return iter(numbers)

    def __len__(self) -> int:
        return self.count


class Daemon:
    """Listens where the client of ``home`` looks for one, and answers by a script."""

    def __init__(self, home: Path, *, ahead: int = 100, answers: bool = True) -> None:
        device = home.stat().st_dev
        self.ahead = ahead
        self.answers = answers
        self.greeting: dict[str, Any] = {}
        self.directories: list[tuple[int, bool]] = []
        self.paths: list[str | None] = []
        self.position = 0
        self.most_ahead = 0
        self.pieces = 0
        self.last = False
        self.ended = threading.Event()
        self.connections = 0
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(
            os.fspath(home / f"training-{os.major(device)}:{os.minor(device)}.sock")
        )
        self._listening.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                talking, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with talking, contextlib.suppress(ConnectionResetError):  # it left our last answers
                self._talk(talking)
            self.ended.set()

    def _talk(self, talking: socket.socket) -> None:
        data, descriptors, _, _ = socket.recv_fds(talking, 4096, 4)
        for descriptor in descriptors:
            found = os.fstat(descriptor)
            self.directories.append((found.st_dev, stat.S_ISDIR(found.st_mode)))
            os.close(descriptor)
        self.greeting = json.loads(data)
        talking.sendall(json.dumps({"ahead": self.ahead, "characters": 10_000}).encode() + b"\n")
        told = 0
        with talking.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                self.pieces += "paths" in said
                self.paths += said.get("paths", [])
                told += len(said.get("paths", []))
                self.position = said["position"]
                self.last = self.last or said.get("last", False)
                self.most_ahead = max(self.most_ahead, told - self.position)
                if self.answers:
                    with contextlib.suppress(OSError):
                        talking.sendall(json.dumps({"ready": told}).encode() + b"\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client looks for sockets."""
    monkeypatch.setattr(order, "SOCKETS", tmp_path)
    return tmp_path


def files(home: Path, count: int) -> list[str]:
    paths = [home / f"{number}" for number in range(count)]
    for path in paths:
        path.touch()
    return [str(path) for path in paths]


def below_mount(paths: list[str]) -> list[str]:
    root, _ = connection.root_of(paths[0])
    return [os.path.relpath(os.path.realpath(path), root) for path in paths]


def test_without_a_daemon_it_is_the_order_itself(home: Path) -> None:
    paths = files(home, 300)
    assert list(announce(paths)) == paths
    assert list(announce(iter([]))) == []
    assert list(announce(["/no/such/file", "/nor/this"])) == ["/no/such/file", "/nor/this"]


def test_a_sampler_without_a_daemon(home: Path) -> None:
    paths, sampler = files(home, 300), Sampler(300)
    announced = AnnouncedSampler(sampler, paths)
    announced.set_epoch(7)
    assert list(announced) == list(sampler)
    assert (len(announced), announced.count, sampler.epoch) == (300, 300, 7)
    assert list(copy.deepcopy(announced)) == list(sampler)


def test_all_is_told_in_order_and_nothing_too_far_ahead(home: Path) -> None:
    paths = files(home, 1000)
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        assert list(announce(paths, job="mine", rank=4)) == paths
        assert daemon.ended.wait(10)
    assert daemon.greeting == {"tierfs": 1, "job": "mine", "rank": 4}
    assert daemon.directories == [(home.stat().st_dev, True)]
    assert daemon.paths == below_mount(paths)
    assert daemon.most_ahead <= 100
    assert daemon.pieces <= 100  # one that waits tells its position besides, without paths
    assert daemon.last


def test_a_sampler_tells_the_paths_of_its_indices(home: Path) -> None:
    paths, sampler = files(home, 300), Sampler(300)
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        assert list(AnnouncedSampler(sampler, paths.__getitem__)) == list(sampler)
        assert daemon.ended.wait(10)
    assert daemon.paths == below_mount([paths[index] for index in sampler])


def test_an_epoch_that_is_broken_off_ends_the_announcement(home: Path) -> None:
    paths = files(home, 300)
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        going = announce(paths)
        next(going)
        del going
        assert daemon.ended.wait(10)
    assert len(daemon.paths) <= 101


def test_a_daemon_that_says_nothing_holds_nobody_up_for_long(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.01)
    paths = files(home, 300)
    with contextlib.closing(Daemon(home, answers=False)):
        assert list(announce(paths)) == paths


def test_the_next_daemon_is_told_what_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "AGAIN_S", 0.0)
    paths = files(home, 300)
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        going = announce(paths)
        got = [next(going) for _ in range(150)]
        lines = [one for one in connection._LIVE if one.ahead]
        lines[0].close()
        got += list(going)
        assert daemon.ended.wait(10)
    assert got == paths
    assert daemon.connections == 2
    assert daemon.paths[-150:] == below_mount(paths)[-150:]


def test_a_path_that_leads_elsewhere_is_told_as_none(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [*files(home, 2), "/proc/self/status"]
    root = os.fspath(home)
    monkeypatch.setattr(connection, "root_of", lambda _: (root, home.stat().st_dev))
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        assert list(announce(paths)) == paths
        assert daemon.ended.wait(10)
    assert daemon.paths == ["0", "1", None]


def test_a_forked_child_has_no_part_in_it(home: Path) -> None:
    """As a data loader's workers, which may live longer than the job."""
    paths = files(home, 300)
    daemon = Daemon(home)
    with contextlib.closing(daemon):
        going = announce(paths)
        next(going)
        ours, childs = os.pipe()
        child = os.fork()
        if not child:
            os.close(childs)
            os.read(ours, 1)  # until the parent has let go
            os._exit(0)
        os.close(ours)
        del going
        assert daemon.ended.wait(10)
        os.close(childs)
        os.waitpid(child, 0)


def test_who_announces_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID", "PBS_JOBID", "LSB_JOBID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert (order._job(), order._rank()) == (str(os.getpgrp()), 3)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("RANK", "5")
    assert (order._job(), order._rank()) == ("77", 5)
