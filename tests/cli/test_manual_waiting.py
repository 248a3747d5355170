"""Waiting until files are moved, time-outs and Ctrl-C; no mount is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.cli.fake_mount import FakeMount
from tests.cli.manual import Captured
from tierfs.cli.main import INTERRUPTED
from tierfs.cli.manual_requests import POLLED
from tierfs.common.errors import ExitCode
from tierfs.common.extents import WHOLE_FILE


@pytest.fixture
def pauses() -> Iterator[list[object]]:
    """What happens in each pause of a wait; it fails when there are more."""
    waiting: list[object] = []

    def pause(_seconds: float) -> None:
        what = waiting.pop(0)
        assert callable(what)
        what()

    with patch("tierfs.cli.manual_requests.time.sleep", pause):
        yield waiting


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("pin", "2 files brought to flash"),
        ("promote", "1 file promoted"),
        ("demote", "2 files demoted"),
    ],
)
def test_waiting_until_all_is_moved(
    fake: FakeMount,
    tree: Path,
    pauses: list[object],
    verb: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses += [lambda: None, fake.move]
    done = Captured(capsys, verb, "--wait", "-r", tree)
    assert done.code == 0
    assert pauses == []
    assert done.out.splitlines()[1:] == [said]


def test_a_bar_on_a_terminal(
    fake: FakeMount,
    tree: Path,
    pauses: list[object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    pauses.append(fake.move)
    done = Captured(capsys, "demote", "--wait", "-r", tree)
    assert "2 of 2 files" in done.err
    assert "74KiB" in done.err
    assert "\x1b" not in done.out


def test_more_files_than_one_look_takes(
    fake: FakeMount, tree: Path, pauses: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(POLLED):
        (tree / f"{number}").write_bytes(b"x")
    pauses += [fake.move, lambda: None]
    assert Captured(capsys, "demote", "--wait", "-r", tree).code == 0
    assert len(fake.prefixes) == POLLED + 2


def test_what_the_mount_gives_up(
    fake: FakeMount, large: bytes, pauses: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, said in [("promote", "not promoted"), ("pin", "not brought to flash")]:
        pauses.append(fake.give_up)
        done = Captured(capsys, verb, "--wait", large)
        assert done.code == ExitCode.UNEXPECTED
        assert f"large: it was {said}; the mount has dropped the request" in done.err
        assert len(done.out.splitlines()) == 1, "nothing was done"


def test_a_file_that_goes_while_it_is_waited_for(
    fake: FakeMount, large: bytes, pauses: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    pauses.append(Path(os.fsdecode(large)).unlink)
    done = Captured(capsys, "promote", "--wait", large)
    assert (done.code, done.err) == (0, "skipped: 1 files that vanished meanwhile\n")
    assert fake.requests


def test_a_mount_that_moves_nothing(
    fake: FakeMount, tree: Path, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Captured(capsys, "demote", "--wait", "--timeout", "0.1s", large, tree / "small")
    assert done.code == ExitCode.UNEXPECTED
    assert done.err == (
        "tierfs: after 0.1s 2 files are still to be moved; "
        "the requests stay, and the mount does them later\n"
    )
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("waits", "why"),
    [
        (b"room stuck", "flash has no room for it, and what may leave flash is too little"),
        (b"inodes stuck", "flash has no inode for it, and no file may leave flash"),
    ],
)
def test_what_cannot_succeed_is_not_waited_for(
    fake: FakeMount,
    tree: Path,
    large: bytes,
    pauses: list[object],
    waits: bytes,
    why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses.append(lambda: fake.waits.update({large: waits}))
    done = Captured(capsys, "pin", "--wait", "-r", tree)
    assert done.code == ExitCode.NO_ROOM
    assert done.err.splitlines()[0] == (
        f"tierfs: {os.fsdecode(large)}: it was not brought to flash: {why}; "
        "it stays pinned and is moved when there is; unpin or demote other files"
    )
    assert done.out.splitlines()[1:] == ["1 file brought to flash"]


def test_a_request_that_was_refused_for_want_of_room(
    fake: FakeMount, large: bytes, pauses: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        fake.waits[large] = b"room stuck"
        fake.give_up()

    fake.waits[large] = b"room"
    pauses.append(refuse)
    done = Captured(capsys, "promote", "--wait", large)
    assert done.code == ExitCode.NO_ROOM
    assert "flash has no room for it" in done.err
    assert "pinned" not in done.err


def test_a_time_out_tells_what_is_waited_for(
    fake: FakeMount, tree: Path, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.prefixes[os.fsencode(tree / "small")] = 0
    fake.waits = {large: b"window", os.fsencode(tree / "small"): b"window"}
    done = Captured(capsys, "pin", "--wait", "--timeout", "0.1s", large, tree / "small")
    assert done.code == ExitCode.UNEXPECTED
    assert "2 files are still to be moved (waiting for window 2); the" in done.err


def interrupt() -> bytes:
    raise KeyboardInterrupt


def test_control_c_while_waiting(
    fake: FakeMount, large: bytes, pauses: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    pauses.append(interrupt)
    done = Captured(capsys, "promote", "--wait", large)
    assert done.code == INTERRUPTED
    assert done.out == "asked to promote 1 file, 960KiB to flash\n"
    assert done.err.startswith(
        "tierfs: interrupted: 1 file is still to be moved; the requests stay"
    )
    assert fake.requests == {large: WHOLE_FILE}


def test_control_c_while_asking(
    fake: FakeMount, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces = iter([small + b"\n"])
    with patch("tierfs.cli.files._read_input", lambda: next(pieces, None) or interrupt()):
        done = Captured(capsys, "pin", "-")
    assert done.code == INTERRUPTED
    assert done.out == "pinned 1 file\n"
    assert fake.pins == {small: b"1"}
