"""What a training client measures of reads, and what it tells of them."""

from __future__ import annotations

import builtins
import io
import json
import mmap
import os
import pickle
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tierfs.training import recording
from tierfs.training.recording import LONGEST, Recording, record_reads


class Daemon:
    """Listens for first reads of the files of ``home``."""

    def __init__(self, home: Path) -> None:
        device = home.stat().st_dev
        self.rows: list[tuple[str, int, int]] = []
        self.lines: list[bytes] = []
        self.descriptors = 0
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(
            os.fspath(home / f"training-{os.major(device)}:{os.minor(device)}.sock")
        )
        self._listening.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take in all that was sent so far, and listen no longer; twice is fine."""
        if self._listening.fileno() >= 0:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
                last.connect(self._listening.getsockname())
                last.sendall(b"end")
            self._thread.join()
            self._listening.close()

    def _run(self) -> None:
        while True:
            talking, _ = self._listening.accept()
            with talking:
                data, descriptors, _, _ = socket.recv_fds(talking, 4096, 4)
                if data == b"end":
                    return
                self.descriptors += len(descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)
                self.lines.append(data)
                self.rows += map(tuple, json.loads(data)["first_reads"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    daemon = Daemon(home)
    yield daemon
    daemon.close()


def told(daemon: Daemon) -> list[tuple[str, int, int]]:
    """All that was told, once the daemon has it."""
    daemon.close()
    return daemon.rows


SIZE = 100_000


@pytest.fixture
def image(home: Path) -> Path:
    path = home / "one.jpg"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


def test_how_far_it_was_read_is_told(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home):
        with image.open("rb", buffering=0) as file:
            file.read(300)
            file.seek(50_000)
            file.read(10)
        with open(image, "rb") as file:
            assert file.read() == image.read_bytes()
    assert builtins.open is io.open is recording._OPEN
    assert told(daemon) == [(".jpg", SIZE, 300), (".jpg", SIZE, SIZE), (".jpg", SIZE, SIZE)]
    assert daemon.descriptors == 1
    assert len(daemon.lines) == 1


def test_a_buffer_counts_as_read(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home), image.open("rb", buffering=4096) as file:
        file.read(10)
    assert told(daemon) == [(".jpg", SIZE, 4096)]


@pytest.mark.parametrize("mode", ["r", "rt", "w", "ab", "r+b", "xb", "rb"])
@pytest.mark.parametrize("buffering", [-1, 0, 100])
@pytest.mark.usefixtures("daemon")
def test_files_are_what_they_are_without_it(home: Path, mode: str, buffering: int) -> None:
    """Types, names, modes, content and errors."""

    def tried(name: str) -> list[Any]:
        path = home / name
        if "x" not in mode:
            path.write_bytes(b"some\nlines\n" * 10)
        seen: list[Any] = []
        try:
            file = open(path, mode, buffering)  # noqa: SIM115 - that is tested
        except ValueError as error:
            return [str(error)]
        with file:
            if isinstance(file, io.FileIO):
                seen.append("raw")
            else:
                seen.append(type(file))
            seen += [file.mode, os.fspath(file.name) == os.fspath(path), file.tell()]
            seen += [file.readable(), file.writable(), file.seekable(), file.isatty()]
            if file.readable():
                seen += [file.read(3), file.readline(), file.seek(2), file.read(), file.read()]
            if file.writable():
                seen.append(file.write("x" if mode == "w" else b"x"))
        seen += [file.closed, path.read_bytes()]
        return seen

    plain = tried("plain.txt")
    with record_reads(home):
        assert tried("measured.txt") == plain
        for wrong in (home, home / "missing"):
            with pytest.raises(OSError, match=str(wrong)):
                open(wrong, "rb")  # noqa: SIM115 - that is tested


def test_what_is_not_read_by_python_is_not_told(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home):
        with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as seen:
            assert len(seen[:]) == SIZE
        with image.open("rb") as file:
            file.seek(10)
            file.read()
        descriptor = os.open(image, os.O_RDONLY)
        with open(descriptor, "rb") as file:
            file.read()
    assert told(daemon) == []


def test_a_loader_may_know_by_itself(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home) as recorder:
        recorder.note(str(image), 77)
        recorder.note(str(home / "missing"), 77)
    assert told(daemon) == [(".jpg", SIZE, 77)]


def test_without_a_daemon_nothing_is_told(home: Path, image: Path) -> None:
    with record_reads(home) as recorder:
        assert len(image.read_bytes()) == SIZE
        assert recorder._rows == []


def test_a_daemon_that_has_gone_is_no_error(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home):
        image.read_bytes()
        daemon.close()


def test_a_message_is_bounded(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home):
        for _ in range(1000):
            image.read_bytes()
    assert len(told(daemon)) > 100
    assert [len(line) < LONGEST + 100 for line in daemon.lines] == [True]


def test_messages_come_every_few_seconds(
    home: Path, daemon: Daemon, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TOLD_EVERY_S", 0.0)
    with record_reads(home):
        for _ in range(3):
            image.read_bytes()
    assert told(daemon) == [(".jpg", SIZE, SIZE)] * 3
    assert len(daemon.lines) == 3


def test_a_forked_worker_tells_what_it_read_itself(home: Path, daemon: Daemon, image: Path) -> None:
    with record_reads(home) as recorder:
        image.read_bytes()
        child = os.fork()
        if not child:
            status = 1
            try:
                with image.open("rb", buffering=0) as file:
                    file.read(5)
                recorder.flush()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    assert sorted(told(daemon)) == [(".jpg", SIZE, 5), (".jpg", SIZE, SIZE)]


def test_there_is_one_recording(home: Path) -> None:
    with record_reads(home) as first:
        assert record_reads(home) is first
    first.stop()
    assert builtins.open is recording._OPEN
    with record_reads(home) as second:
        assert second is not first


def test_numpy_and_pickle_read_through_it(home: Path, daemon: Daemon) -> None:
    numpy = pytest.importorskip("numpy")
    path = home / "a.npy"
    numpy.save(path, numpy.arange(1000))
    (home / "b.pickle").write_bytes(pickle.dumps(list(range(1000))))
    with record_reads(home):
        assert numpy.load(path).sum() == 499_500
        with (home / "b.pickle").open("rb") as file:
            assert len(pickle.load(file)) == 1000  # noqa: S301 - our own
    assert {row[0] for row in told(daemon)} == {".pickle", ".npy"}


def test_nobody_s_directory_is_trusted(
    home: Path, daemon: Daemon, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    os.chown(home, 4712, -1)
    with record_reads(home):
        image.read_bytes()
    assert told(daemon) == []


def test_it_can_be_made_twice_for_two_places(home: Path) -> None:
    assert Recording(home).listens(home.stat().st_dev) is False
