"""The whole of it on real mounts, with few files, and with damage and interruptions."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.demo.conftest import Recorder
from tierfs.base.errors import DamageFound, ExitCode, TierfsError
from tierfs.base.units import MIB
from tierfs.demo import __main__ as command
from tierfs.demo import app, caches, oddities
from tierfs.demo import volume as volumes
from tierfs.demo.app import Settings
from tierfs.demo.space import Images
from tierfs.demo.trees import Tree
from tierfs.demo.workspace import Workspace

pytestmark = [
    pytest.mark.usefixtures("process_tracker", "few_real_files"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def few_real_files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small tree in place of the Python installation."""
    root = tmp_path_factory.mktemp("real")
    (root / "module.py").write_text("import this\n", encoding="ascii")
    monkeypatch.setattr(app, "find_python_trees", lambda: [Tree.whole("python", root)])
    monkeypatch.setattr(oddities, "CROWD", 20)
    # Nobody else's work is to be slowed down by a test.
    monkeypatch.setattr(caches, "DROP_CACHES", root / "missing" / "drop_caches")
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Images(12, 3 * MIB), tmp_path, readers=2, samples=5)


def damage(settings: Settings, monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    """Flip a bit of the largest object of a tier while the volume is not mounted."""

    def flip(_: Iterable[Path]) -> bool:
        objects = list(settings.place.glob(f"tierfs-demo-*/{directory}/*/*/*"))
        largest = max(objects, key=lambda path: path.stat().st_size)
        with largest.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        return True

    monkeypatch.setattr(caches, "drop_caches", flip)


def test_a_run_copies_compares_and_leaves_nothing(settings: Settings, ui: Recorder) -> None:
    app.run(settings, ui)
    for words in ("images", "odd", "python", "flash: heads", "disk: tails", "through tierfs"):
        assert words in ui.text
    assert "Everything is equal." in ui.text
    assert os.listdir(settings.place) == []


def test_tiers_in_directories_of_their_own(
    settings: Settings, ui: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flash, disk = tmp_path_factory.mktemp("flash"), tmp_path_factory.mktemp("disk")
    app.run(Settings(settings.images, settings.place, flash, disk, 2, 5), ui)
    assert "Everything is equal." in ui.text
    assert [os.listdir(place) for place in (settings.place, flash, disk)] == [[], [], []]


@pytest.mark.parametrize("directory", ["flash/heads", "disk/objects"])
def test_a_flipped_bit_in_a_tier_is_found(
    settings: Settings, ui: Recorder, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    damage(settings, monkeypatch, directory)
    with pytest.raises(DamageFound, match=r"in [13] places:\n.* has other bytes: first at"):
        app.run(settings, ui)
    assert os.listdir(settings.place) == []


@pytest.mark.parametrize("step", ["copy_tree", "generate"])
def test_an_interrupted_run_leaves_nothing(
    settings: Settings, ui: Recorder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        app.run(settings, ui)
    assert os.listdir(settings.place) == []


def test_a_daemon_that_ignores_everybody_is_ended(
    settings: Settings, ui: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped while the copy begins: no command of tierfs gets an answer any more."""

    def stop(*_: object) -> None:
        (work,) = settings.place.glob("tierfs-demo-*")
        for pid in volumes.daemons(work / "volume.yaml"):
            os.kill(pid, signal.SIGSTOP)
        raise TierfsError("the copy hangs")

    monkeypatch.setattr(app, "copy_tree", stop)
    monkeypatch.setattr(volumes, "CLEAN_UP_S", 1.0)
    monkeypatch.setattr(volumes, "PATIENCE_S", 1.0)
    with pytest.raises(TierfsError, match="the copy hangs"):
        app.run(settings, ui)
    assert os.listdir(settings.place) == []


def test_a_mount_in_use_for_a_moment_is_unmounted(
    settings: Settings, ui: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an indexer, which looks into every mount that it sees."""
    seen: list[tuple[str | Path, ...]] = []

    def busy(self: volumes.Volume, *arguments: str | Path, patience: float = 60.0) -> str:
        if arguments[0] == "umount" and not seen:
            seen.append(arguments)
            held = os.open(arguments[1], os.O_RDONLY)
            try:
                return run_it(self, *arguments, patience=patience)
            finally:
                os.close(held)
        return run_it(self, *arguments, patience=patience)

    run_it = volumes.Volume._run
    monkeypatch.setattr(volumes.Volume, "_run", busy)
    app.run(settings, ui)
    assert seen
    assert os.listdir(settings.place) == []


@pytest.fixture
def clean_place(tmp_path: Path) -> Iterator[Path]:
    """A place where what a run keeps is unmounted after the test."""
    yield tmp_path
    for home in tmp_path.glob("tierfs-demo-*"):
        volumes.Volume(Workspace(home, home, home, home, (home,))).clean_up()


def test_a_kept_volume_stays_mounted(clean_place: Path, ui: Recorder) -> None:
    app.run(Settings(Images(3, MIB), clean_place, readers=1, samples=1, keep=True), ui)
    (home,) = clean_place.glob("tierfs-demo-*")
    assert (home / "mnt" / "python" / "module.py").read_text() == "import this\n"
    assert f"tierfs umount {home / 'mnt'} && rm -r {home}" in ui.text


def run_command(monkeypatch: pytest.MonkeyPatch, problem: BaseException | None) -> tuple[int, str]:
    """The exit code of the command and what it says, when its work ends so."""

    def end(*_: object) -> None:
        if problem:
            raise problem

    monkeypatch.setattr(app, "run", end)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    result = CliRunner().invoke(command.main, ["--files", "3", "--size", "1MiB"])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("problem", "code", "said"),
    [
        (None, 0, ""),
        (DamageFound("a has other bytes"), 7, "tierfs demo: a has other bytes\n"),
        (
            volumes.CommandFailed("tierfs mount failed: no", 5),
            5,
            "tierfs demo: tierfs mount failed",
        ),
        (volumes.CommandFailed("killed", -9), ExitCode.UNEXPECTED, "tierfs demo: killed\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "tierfs demo: Permission denied: /x"),
        (KeyboardInterrupt(), 130, "tierfs demo: interrupted\n"),
    ],
)
def test_how_the_command_ends(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException | None, code: int, said: str
) -> None:
    ended, output = run_command(monkeypatch, problem)
    assert ended == code
    assert output.startswith(said)
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "64K"], "write 64KiB"),
        (["--files", "0"], "--files"),
        (["--dir", "/does/not/exist"], "/does/not/exist"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(command.main, arguments)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.output
