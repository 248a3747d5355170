"""The waiting side, against small programs that play the daemon; the real one mounts elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tierfs.common.errors import ExitCode, MountFailed
from tierfs.daemon import startup
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.startup import DaemonFailed, MountRequest, start_process

pytestmark = pytest.mark.once

Play = Callable[..., int]

LIVE = Mount(Path("/m"), "fuse.tierfs", "/v.yaml", "rw", "rw")


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Run a program that has the pipe as `pipe`, and wait for it as for a daemon."""
    opened: list[int] = []

    def run(program: str, seconds: float = 10) -> int:
        reading, writing = os.pipe()
        opened.append(reading)
        code = f"import os, time\npipe = {writing}\n{program}"
        command = [sys.executable, "-I", "-c", code]
        return start_process(command, (reading, writing), tmp_path, seconds)

    yield run
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "mount_at", lambda _path: LIVE)


@pytest.mark.usefixtures("mounted")
def test_ready_returns_the_process(play: Play) -> None:
    pid = play("os.write(pipe, b'READY\\n'); os.close(pipe)")
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.usefixtures("mounted")
def test_the_daemon_is_apart_from_who_started_it(play: Play, tmp_path: Path) -> None:
    found = tmp_path / "found"
    pid = play(
        f"open({str(found)!r}, 'w').write(f'{{os.getcwd()}} {{os.getsid(0)}} {{os.umask(0):o}} '"
        " + os.readlink('/proc/self/fd/0')); os.write(pipe, b'READY\\n')"
    )
    os.waitpid(pid, 0)
    assert found.read_text() == f"/ {pid} 22 /dev/null"


def test_what_the_daemon_reports_is_raised(play: Play) -> None:
    with pytest.raises(DaemonFailed, match="no such volume") as caught:
        play("os.write(pipe, b'FAILED 3\\nno such volume')")
    assert caught.value.exit_code == ExitCode.VOLUME_REFUSED


def test_what_libfuse_says_is_added(play: Play) -> None:
    with pytest.raises(DaemonFailed) as caught:
        play(
            "os.write(2, b'noise\\nfuse: device not found\\n')\n"
            "os.write(pipe, b'FAILED 5\\nno mount')"
        )
    assert str(caught.value) == "no mount\nfuse: device not found"


def test_a_crash_shows_its_last_output(play: Play) -> None:
    with pytest.raises(MountFailed, match=r"exit status 7 before .* last output:\nouch$"):
        play("os.write(2, b'ouch\\n'); os._exit(7)")


def test_a_killed_daemon_is_named_so(play: Play) -> None:
    with pytest.raises(MountFailed, match="ended with signal 11"):
        play("os.kill(os.getpid(), 11)")


def test_a_silent_daemon_is_given_up(play: Play, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(MountFailed, match=r"did not answer within 0.5 s .*:\nwaiting"):
        play(
            f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
            "os.write(2, b'waiting\\n'); time.sleep(60)",
            seconds=0.5,
        )
    assert not Path(f"/proc/{pid_file.read_text()}").exists()


def test_a_daemon_that_does_not_die_is_told_of(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits in the kernel for a device; here SIGKILL is held back instead."""
    monkeypatch.setattr(startup, "STOP_SECONDS", 0.1)
    killed: list[subprocess.Popen[bytes]] = []

    def spare(process: subprocess.Popen[bytes]) -> None:
        killed.append(process)

    for way in ("terminate", "kill"):
        monkeypatch.setattr(subprocess.Popen, way, spare)
    with pytest.raises(MountFailed, match=r"process [0-9]+ was killed but has not ended"):
        play("time.sleep(60)", seconds=0.5)
    process = killed[0]
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_ready_without_a_mount_is_given_up(play: Play) -> None:
    started = time.monotonic()
    with pytest.raises(MountFailed, match="did not answer"):
        play("os.write(pipe, b'READY\\n'); os.close(pipe); time.sleep(60)", seconds=0.5)
    assert time.monotonic() - started < 10


def test_a_mount_that_is_gone_at_once_is_told(play: Play) -> None:
    with pytest.raises(MountFailed, match="unmounted again at once"):
        play("os.write(pipe, b'READY\\n')")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    request = MountRequest.of(tmp_path / "link" / "v.yaml", tmp_path / "link", ())
    assert request == MountRequest(tmp_path / "real" / "v.yaml", tmp_path / "real", ())


def test_the_command_line_survives_odd_names() -> None:
    request = MountRequest(Path("/-v.yaml"), Path("/m t"), ("-x,y", "ro"))
    words = request.command(7)
    assert words[-3:] == ["--", "/-v.yaml", "/m t"]
    assert "--options=-x,y" in words
    assert "--ready-pipe=7" in words
