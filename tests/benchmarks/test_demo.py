"""``make demo``: it finds every kind of difference, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import demo
from tests.benchmarks.machine import mountpoints
from tests.support.proc import run
from tierfs.common.errors import TierfsError

pytestmark = pytest.mark.long

PROGRAM = [sys.executable, "-m", "tests.benchmarks.demo"]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the awkward files; the originals are in ``original`` beside it."""
    demo.make_oddities(tmp_path / "original")
    (tmp_path / "copy").mkdir()
    demo.copy(tmp_path / "original", tmp_path / "copy")
    return tmp_path / "copy" / "original"


def differences(copied: Path) -> list[str]:
    original = copied.parent.parent / "original"
    return list(demo.differences(original, copied, lambda _: None))


def test_a_true_copy_has_no_difference(copied: Path) -> None:
    assert differences(copied) == []


def flip_a_bit(copied: Path) -> None:
    data = bytearray((copied / "twin").read_bytes())
    data[-1] ^= 1
    before = os.lstat(copied / "twin")
    (copied / "twin").write_bytes(data)
    (copied / "twin").chmod(0o4711)
    os.utime(copied / "twin", ns=(before.st_atime_ns, before.st_mtime_ns))


def part_twins(copied: Path) -> None:
    run(["cp", "-a", copied / "twin", copied / "alone"])
    os.rename(copied / "alone", copied / "other twin")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "other bytes before offset": flip_a_bit,
    "another size": lambda copied: os.truncate(copied / "-rf", 2),
    "another mode": lambda copied: (copied / "twin").chmod(0o711),
    "another mtime_ns": lambda copied: os.utime(copied / "sparse", ns=(0, -1_500_000_001)),
    "lost its hard link": part_twins,
    "other extended attributes": lambda copied: os.setxattr(copied, "user.more", b""),
    "another target": lambda copied: run(["ln", "-nsf", "no/where", copied / "dangling"]),
    "lists other names": lambda copied: (copied / "more").touch(),
    "cannot be read: No such file": lambda copied: (copied / "-rf").unlink(),
}


@pytest.mark.parametrize("said", DAMAGE)
def test_each_kind_of_difference_is_found(copied: Path, said: str) -> None:
    DAMAGE[said](copied)
    assert [line for line in differences(copied) if said in line]


@pytest.mark.timeout(240)
def test_a_run_copies_compares_shows_the_gain_and_leaves_nothing(scratch: Path) -> None:
    said = run([*PROGRAM, "--dir", scratch], timeout=220).stdout
    assert "Every byte and attribute is equal." in said
    assert "times sooner" in said
    assert os.listdir(scratch) == []
    assert [path for path in mountpoints() if scratch in path.parents] == []


@pytest.mark.timeout(120)
def test_an_interrupt_leaves_nothing_and_no_traceback(scratch: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "--dir", scratch], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any("into the volume" in line for line in process.stdout)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "interrupted" in complaint
    assert "Traceback" not in complaint
    assert os.listdir(scratch) == []


def test_a_machine_without_fuse_is_told_so(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(TierfsError, match=r"/dev/fuse is missing or not yours; .*modprobe fuse"):
        demo.demonstrate(scratch)


def test_too_little_room_is_told(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FEWEST_BYTES", 2**60)
    with pytest.raises(TierfsError, match="too little room: name another directory with --dir"):
        demo.demonstrate(scratch)
