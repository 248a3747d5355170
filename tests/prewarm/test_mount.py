"""Warming files of a mount, and asking whether they are warm."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import sys
import termios
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

from tests.prewarm.reading import (
    LARGE,
    SMALL,
    Requests,
    make_files,
    read_all,
    warm,
    warm_list,
)
from tests.prewarm.undisturbed import undisturbed
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import start, stop, wait_until
from tierfs.cli.main import INTERRUPTED, main
from tierfs.common.errors import ExitCode

HEADS = 15 * SMALL + 5 * HEAD
TAILS = 5 * (LARGE - HEAD)
COLD = (0, 1)
ODD_NAMES = (b"line\nbreak", b"not\xffutf8", b" blank ", b"-dash", "Z\u00fcrich".encode())


def test_what_was_read_is_warm_until_a_remount(mounted: Mount) -> None:
    make_files(mounted.path / "folder")

    def scenario() -> list[dict[str, Any]]:
        calls = [["--check"], [], ["--check"], ["--check", "--tails"], ["--tails"]]
        calls.append(["--check", "--tails"])
        return [warm(*call, mounted.path, statuses=COLD) for call in calls]

    cold, _, heads, no_tails, _, whole = undisturbed(scenario, mounted.remount)
    assert [one["warm"] for one in (cold, heads, no_tails, whole)] == [False, True, False, True]
    assert [one["heads"]["warm_bytes"] for one in (cold, heads, whole)] == [0, HEADS, HEADS]
    assert [one["tails"]["warm_bytes"] for one in (cold, heads, whole)] == [0, 0, TAILS]
    assert whole["tails"] == {"files": 5, "warm_files": 5, "bytes": TAILS, "warm_bytes": TAILS}
    assert (whole["metadata"]["files"], whole["directories"]) == (20, 2)


def test_the_exit_code_tells_whether_all_is_warm(mounted: Mount) -> None:
    make_files(mounted.path / "folder")

    def scenario() -> list[int]:
        with contextlib.redirect_stdout(io.StringIO()):
            calls: tuple[list[str], ...] = (["--check"], [], ["--check"], ["--check", "--tails"])
            return [main(["warm", str(mounted.path), *options]) for options in calls]

    assert undisturbed(scenario, mounted.remount) == [1, 0, 0, 1]


def test_an_epoch_after_it_asks_for_nothing(mounted: Mount) -> None:
    """Counted through Python, which counts each request before it is answered."""
    files = make_files(mounted.path / "folder")

    def scenario() -> tuple[Counter[str], Counter[str]]:
        before = Requests(mounted)
        warm("--tails", mounted.path)
        warming = before.since()
        epoch = Requests(mounted)
        read_all(files)
        return warming, epoch.since()

    warming, epoch = undisturbed(scenario, lambda: mounted.remount("no_fastpath"))
    assert warming["read"] == 25  # one a head and one a tail
    assert set(epoch) <= {"open", "flush", "release"}


def test_a_head_costs_no_byte_of_its_tail(mounted: Mount) -> None:
    make_files(mounted.path / "folder")

    def scenario() -> dict[str, Any]:
        warm(mounted.path)
        return warm("--check", mounted.path, statuses=COLD)

    assert undisturbed(scenario, mounted.remount)["tails"]["warm_bytes"] == 0


def test_names_are_cold_until_they_are_looked_up(mounted: Mount) -> None:
    """By a mount that does not list ahead, which may know the last names when they are asked of."""
    files = make_files(mounted.path / "folder")

    def scenario() -> list[int]:
        checks = [warm("--check", *files, statuses=COLD) for _ in range(2)]
        return [check["metadata"]["warm_files"] for check in checks]

    assert undisturbed(scenario, lambda: mounted.remount("no_fastpath")) == [0, 20]


@pytest.mark.parametrize(("separator", "options"), [(b"\0", ["-0"]), (b"\n", [])])
def test_lists_with_odd_names(mounted: Mount, separator: bytes, options: list[str]) -> None:
    names = [name for name in ODD_NAMES if separator not in name]
    paths = [os.fsencode(mounted.path) + b"/" + name for name in names]
    for path in paths:
        Path(os.fsdecode(path)).write_bytes(b"x" * SMALL)
    done = warm_list(separator.join(paths), *options)
    assert done["heads"]["warm_files"] == len(names)
    assert done["errors"] == 0


def test_a_bad_name_is_told_and_the_others_are_warmed(mounted: Mount) -> None:
    files = make_files(mounted.path / "folder")
    missing = os.fsdecode(os.fsencode(mounted.path) + b"/not\xffthere\n")
    output = tierfs("warm", missing, *files, statuses=[ExitCode.UNEXPECTED])
    assert f"errors: 1\n  {mounted.path}/not\\xffthere\\n: No such file or directory\n" in output
    assert "heads        20    20" in output


def test_damage_is_told_and_the_others_are_warmed(mounted: Mount) -> None:
    files = make_files(mounted.path / "folder")
    mounted.log.allow("object is missing")
    mounted.remount()
    mounted.flash_object(files[3].stat().st_ino).unlink()
    done = warm(mounted.path, statuses=(1,))
    assert done["problems"] == [{"path": str(files[3]), "reason": "Input/output error"}]
    assert done["heads"]["warm_files"] == 19


def test_what_is_no_file_is_left_alone(mounted: Mount) -> None:
    files = make_files(mounted.path / "folder")
    os.mkfifo(mounted.path / "fifo")
    (mounted.path / "link").symlink_to(files[0])
    done = warm(mounted.path)
    assert done["skipped"] == {"symbolic links": 1, "FIFOs, sockets and devices": 1}
    assert done["heads"]["files"] == 20


def test_a_link_on_the_command_line_is_followed(mounted: Mount, scratch: Path) -> None:
    make_files(mounted.path / "folder")
    (scratch / "link").symlink_to(mounted.path)
    assert warm(scratch / "link")["heads"]["files"] == 20


def test_elsewhere_there_is_nothing_to_warm(mounted: Mount, scratch: Path) -> None:
    output = tierfs("warm", mounted.path, scratch, statuses=[ExitCode.NOT_MOUNTED])
    assert output == f"tierfs: {scratch} is not in a tierfs mount\n"


def test_a_dead_daemon_is_told_once(mounted: Mount) -> None:
    files = make_files(mounted.path / "folder")
    mounted.kill()
    output = tierfs("warm", *files, statuses=[ExitCode.NOT_MOUNTED])
    assert output.startswith(f"tierfs: {files[0]} cannot be reached: the daemon")
    assert output.count("\n") == 1


def waiting_in(pipe: IO[str] | None) -> int:
    """Bytes that were written to a pipe and not read yet."""
    assert pipe is not None
    answer = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def test_an_interrupt_leaves_a_summary(mounted: Mount) -> None:
    files = make_files(mounted.path / "folder")
    # A shell that runs this suite in the background has it ignore SIGINT, and so its children.
    plain = ["env", "--default-signal=INT", sys.executable]
    process = start([*plain, "-m", "tierfs", "warm", *files[:3], "-"])
    try:
        assert process.stdin is not None
        process.stdin.write(f"{files[3]}\n")
        process.stdin.flush()  # the list has no end
        wait_until(lambda: waiting_in(process.stdin) == 0, what="the list is read", timeout=60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        stop(process)
    assert process.returncode == INTERRUPTED
    assert " interrupted after " in output
    assert errors == ""
