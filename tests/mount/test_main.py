from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tierfs.cli.main import main
from tierfs.common.errors import ConfigError, MountFailed, VolumeBusy
from tierfs.daemon import holder
from tierfs.daemon import session as daemon
from tierfs.daemon.holder import serve_when_free
from tierfs.daemon.mountinfo import Mount
from tierfs.daemon.options import MountOptions
from tierfs.daemon.session import run
from tierfs.daemon.startup import MountRequest, Report, StartupNotifier, read_report
from tierfs.policy.volume_file import VolumeFile, load_volume_file

pytestmark = pytest.mark.once

Serve = Callable[[VolumeFile, Path, MountOptions, Callable[[], None], None], None]


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountRequest:
    """A volume to mount, with a log of its own; nothing touches this process's logging."""
    for name in ("flash", "disk", "mnt"):
        (tmp_path / name).mkdir()
    tiers = ["--flash", str(tmp_path / "flash"), "--disk", str(tmp_path / "disk")]
    assert main(["init", str(tmp_path / "v.yaml"), *tiers]) == 0
    monkeypatch.setattr(daemon, "start_logging", lambda *_args, **_kwargs: None)
    monkeypatch.setattr(daemon, "stop_echo", lambda _file: None)
    return MountRequest.of(tmp_path / "v.yaml", tmp_path / "mnt", ("noatime",))


@pytest.fixture
def pipe() -> Iterator[tuple[int, StartupNotifier]]:
    reading, writing = os.pipe()
    notifier = StartupNotifier(writing)
    yield reading, notifier
    notifier.ready()
    os.close(reading)


def serving(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    monkeypatch.setattr(daemon, "serve", serve)


def test_who_waits_hears_of_the_mount(
    request_: MountRequest, pipe: tuple[int, StartupNotifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[VolumeFile] = []

    def serve(
        settings: VolumeFile,
        mountpoint: Path,
        options: MountOptions,
        up: Callable[[], None],
        supervised: None,
    ) -> None:
        assert supervised is None
        assert mountpoint == request_.mountpoint
        assert {"noatime", "default_permissions"} <= options.fuse
        seen.append(settings)
        up()

    serving(monkeypatch, serve)
    run(request_, pipe[1])
    assert read_report(pipe[0], 5) == Report(ready=True)
    log = seen[0].log.file
    assert log is not None
    assert log.parent.name == "tierfs"


def test_who_waits_hears_what_went_wrong(
    request_: MountRequest, pipe: tuple[int, StartupNotifier]
) -> None:
    request_.volume_file.write_text("nonsense: 1\n")
    with pytest.raises(ConfigError):
        run(request_, pipe[1])
    report = read_report(pipe[0], 5)
    assert report is not None
    assert f"{request_.volume_file}:1:1: " in report.message


def test_the_error_of_a_task_comes_out_alone(
    request_: MountRequest, pipe: tuple[int, StartupNotifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(*_: object) -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [MountFailed("no socket")])])

    serving(monkeypatch, serve)
    with pytest.raises(MountFailed, match="no socket"):
        run(request_, pipe[1])
    report = read_report(pipe[0], 5)
    assert report is not None
    assert report.message == "no socket"


def test_what_nobody_expected_is_logged(
    request_: MountRequest, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("failed unexpectedly")

    def serve(*_: object) -> None:
        raise RuntimeError("odd")

    serving(monkeypatch, serve)
    with pytest.raises(RuntimeError):
        run(request_, StartupNotifier(None))


def test_a_daemon_that_goes_away_is_waited_for(request_: MountRequest) -> None:
    tries = []

    def serve() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise VolumeBusy("still closing")

    serve_when_free(load_volume_file(request_.volume_file), serve)
    assert len(tries) == 3


def test_a_daemon_that_stays_is_not_waited_for(
    request_: MountRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount(Path("/m"), "fuse.tierfs", str(request_.volume_file), "rw", "rw")
    monkeypatch.setattr(holder, "mounts", lambda: [mount])
    tries = []

    def serve() -> None:
        tries.append(1)
        raise VolumeBusy("mounted")

    with pytest.raises(VolumeBusy, match="is mounted on /m: unmount it first"):
        serve_when_free(load_volume_file(request_.volume_file), serve)
    assert tries == [1]


def test_waiting_ends(request_: MountRequest) -> None:
    def serve() -> None:
        raise VolumeBusy("held")

    with pytest.raises(VolumeBusy, match=r"without a run file.*fuser -v .*/flash/\.tierfs"):
        serve_when_free(load_volume_file(request_.volume_file), serve, seconds=0.3)
