"""What daemons tell of themselves in files, which may be left behind, or be anybody's nonsense."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.guards.logs import ExpectLog
from tests.support.proc import run
from tierfs.common.errors import VolumeBusy
from tierfs.daemon import run_file, runtime
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.run_file import RunFile
from tierfs.daemon.runtime import MAX_BYTES, require_alone, run_of, runs, start_time

pytestmark = pytest.mark.once

VOLUME = UUID("00000000-0000-4000-8000-000000000001")
OWNER = f"rw,user_id={os.geteuid()}"
OURS = Mount(Path("/m"), "fuse.tierfs", "/v.yaml", "rw", OWNER, number=40, device="0:45")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "run"
    for module in (run_file, runtime):
        monkeypatch.setattr(module, "runtime_directory", lambda _uid: found)
    return found


@pytest.fixture
def file() -> RunFile:
    return RunFile(VOLUME, Path("/v.yaml"), Path("/m"))


def change(directory: Path, **fields: object) -> None:
    path = directory / f"{VOLUME}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_daemon_tells_of_its_life(file: RunFile, directory: Path) -> None:
    assert [one.state for one in runs()] == ["starting"]
    assert run_of(OURS) is None
    file.serving(OURS)
    found = run_of(OURS)
    assert found is not None
    assert (found.pid, found.mount_id, found.state) == (os.getpid(), 40, "serving")
    file.closing()
    assert [one.state for one in runs()] == ["closing"]
    file.remove()
    assert list(directory.iterdir()) == []


def test_a_killed_daemon_and_a_device_given_out_again(file: RunFile, directory: Path) -> None:
    file.serving(OURS)
    assert run_of(Mount(Path("/n"), "fuse.tierfs", "/other.yaml", "rw", OWNER, 41, "0:45")) is None
    change(directory, started=1)
    assert run_of(OURS) is None
    assert not runs()[0].alive()


def test_the_next_daemons_file_is_not_removed(file: RunFile, directory: Path) -> None:
    change(directory, pid=1)
    file.remove()
    assert len(runs()) == 1


def test_what_killed_daemons_left_goes_with_the_next_start(
    file: RunFile, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.serving(OURS)
    monkeypatch.setattr(run_file, "mounts", lambda: [OURS])
    epitaph = directory / f"{VOLUME}.dead"
    epitaph.write_text("given up")
    other = UUID(int=7)
    RunFile(other, Path("/other.yaml"), Path("/n"))
    assert len(runs()) == 2, "a daemon that lives keeps its file"
    change(directory, started=1)
    RunFile(other, Path("/other.yaml"), Path("/n"))
    assert len(runs()) == 2, "its mount is there, dead, and its file says why"
    monkeypatch.setattr(run_file, "mounts", list)
    RunFile(other, Path("/other.yaml"), Path("/n"))
    assert [one.uuid for one in runs()] == [str(other)]
    assert [path.name for path in directory.iterdir()] == [f"{other}.json"]


def test_what_is_mounted_in_another_mount_namespace_is_not_gone(
    file: RunFile, directory: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    file.serving(OURS)
    change(directory, started=1)
    monkeypatch.setattr(run_file, "mounts", list)
    monkeypatch.setattr(run_file, "CONNECTIONS", scratch)
    connection = scratch / OURS.device.partition(":")[2]
    connection.mkdir()
    RunFile(UUID(int=7), Path("/other.yaml"), Path("/n"))
    assert len(runs()) == 2
    connection.rmdir()
    RunFile(UUID(int=7), Path("/other.yaml"), Path("/n"))
    assert len(runs()) == 1


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(os.fspath(path))
    made.listen()
    return made


@pytest.fixture
def nearby(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory with a path that is short enough for a socket."""
    for module in (run_file, runtime):
        monkeypatch.setattr(module, "runtime_directory", lambda _uid: scratch)
    return scratch


def test_sockets_of_killed_daemons_go_with_the_next_start(nearby: Path) -> None:
    directory = nearby
    RunFile(VOLUME, Path("/v.yaml"), Path("/m"))
    names = [f"{uuid}.sock" for uuid in (VOLUME, UUID(int=2), UUID(int=3))] + ["training-0:45.sock"]
    made = [listening(directory / name) for name in names]
    for number, each in enumerate(made):
        if number != 1:  # a daemon that could not write its run file
            each.close()
    RunFile(UUID(int=7), Path("/other.yaml"), Path("/n"))
    left = {path.name for path in directory.glob("*.sock")}
    made[1].close()
    assert left == {names[0], names[1], names[3]}, (
        "the first has a run file, the last is no volume's"
    )


def test_the_socket_of_a_daemon_that_starts_meanwhile_stays(
    nearby: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = nearby / f"{VOLUME}.sock"
    listening(path).close()
    rename = Path.rename

    def start_and_rename(old: Path, new: Path) -> Path:
        if old == path:
            path.with_suffix(".json").write_text("the next daemon's")
        return rename(old, new)

    monkeypatch.setattr(Path, "rename", start_and_rename)
    RunFile(UUID(int=7), Path("/other.yaml"), Path("/n"))
    assert path.exists()
    assert not list(nearby.glob(".ended-*"))


def test_the_file_of_a_daemon_that_starts_meanwhile_stays(
    file: RunFile, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.serving(OURS)
    change(directory, started=1)
    read = runtime.runs

    def read_and_start() -> list[runtime.Run]:
        found = read()
        change(directory, started=start_time(os.getpid()), state="starting")
        return found

    monkeypatch.setattr(run_file, "mounts", list)
    monkeypatch.setattr(run_file, "runs", read_and_start)
    RunFile(UUID(int=7), Path("/other.yaml"), Path("/n"))
    assert [one.state for one in read() if one.uuid == str(VOLUME)] == ["starting"]
    assert len(list(directory.iterdir())) == 2


def test_a_copy_is_not_served_beside_its_original(file: RunFile, directory: Path) -> None:
    require_alone(VOLUME)
    parent = os.getppid()
    change(directory, pid=parent, started=start_time(parent))
    with pytest.raises(VolumeBusy, match=r"is mounted on /m by /v\.yaml"):
        require_alone(VOLUME)
    change(directory, state="closing")
    require_alone(VOLUME)
    del file


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("[" * 60_000),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text("7"),
        lambda path: path.write_bytes(b"\xff"),
        lambda path: path.write_text(" " * MAX_BYTES + path.read_text()),
        lambda path: path.write_text(path.read_text().replace(str(os.getpid()), '"x"')),
        lambda path: path.write_text(path.read_text().replace(str(VOLUME), str(UUID(int=7)))),
        lambda path: run(["sh", "-c", 'rm "$0"; mkfifo "$0"', path]),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))),
    ],
)
def test_nonsense_is_left_out(
    file: RunFile, directory: Path, spoil: Callable[[Path], object]
) -> None:
    file.serving(OURS)
    spoil(directory / f"{VOLUME}.json")
    assert runs() == []


def test_a_directory_of_another_user_is_left_out(
    file: RunFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.serving(OURS)
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    assert runs() == []


def test_a_file_that_cannot_be_written_keeps_no_data_from_being_mounted(
    directory: Path, expect_log: ExpectLog
) -> None:
    expect_log("cannot be written")
    directory.write_text("in the way")
    file = RunFile(VOLUME, Path("/v.yaml"), Path("/m"))
    file.serving(OURS)
    file.remove()
