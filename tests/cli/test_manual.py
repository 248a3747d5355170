"""What pin, unpin, promote and demote ask for, and what they say; no mount is needed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.cli.fake_mount import FakeMount
from tests.cli.manual import Captured, stdin
from tierfs.common.errors import ExitCode
from tierfs.common.extents import WHOLE_FILE


def test_pin_and_unpin_say_what_they_did_and_skipped(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Captured(capsys, "pin", "-r", tree)
    assert (done.code, done.out) == (0, "pinned 1 directory and 2 files, 960KiB to flash\n")
    assert done.err == "skipped: 1 FIFOs, sockets and devices\nskipped: 1 symbolic links\n"
    assert fake.pins == {os.fsencode(tree): b"1"}
    assert Captured(capsys, "pin", small, large).code == 0
    assert fake.pins == {os.fsencode(tree): b"1", small: b"1", large: b"1"}
    assert Captured(capsys, "unpin", "-r", tree / "in").err == (
        f"tierfs: {tree}/in/large: the directory / of the mount pins it; "
        "use tierfs unpin -r on it\n"
    )
    done = Captured(capsys, "unpin", "-r", tree)
    assert done.out == "unpinned 1 directory and 1 file; 1 unchanged\n"
    assert fake.pins == {}


def test_a_directory_of_somebody_else_has_its_files_pinned_alone(
    fake: FakeMount, tree: Path, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.broken[os.fsencode(tree / "in")] = errno.EPERM
    done = Captured(capsys, "pin", "-r", tree / "in")
    assert (done.code, fake.pins) == (0, {large: b"1"})
    assert done.err == (
        f"tierfs: {tree}/in: files made in it later are not pinned: "
        "only its owner and root may do that\n"
    )


def test_pin_for_a_while(fake: FakeMount, small: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert Captured(capsys, "pin", "--for", "6h", small).code == 0
    assert fake.pins == {small: b"6h"}


@pytest.mark.parametrize(
    ("words", "prefix"),
    [([], WHOLE_FILE), (["--to", "all"], WHOLE_FILE), (["--to", "1MB"], 1003520)],
)
def test_promote_requests_what_is_not_there(
    fake: FakeMount,
    tree: Path,
    large: bytes,
    words: list[str],
    prefix: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = Captured(capsys, "promote", "-r", tree, *words)
    assert done.out.startswith("asked to promote 1 file, ")
    assert done.out.endswith(" to flash; 1 unchanged\n"), "the small one is there already"
    assert fake.requests == {large: prefix}


def test_demote_requests_what_is_on_flash(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.prefixes[small] = 0
    assert (
        "asked to demote 1 file, 64KiB to disk; 1 unchanged"
        in Captured(capsys, "demote", "-r", tree).out
    )
    assert fake.requests == {large: 0}


def test_what_was_asked_otherwise_is_asked_again(
    fake: FakeMount, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is on flash, but not for long."""
    fake.requests[small] = 0
    assert Captured(capsys, "promote", small).code == 0
    assert fake.requests == {small: WHOLE_FILE}


def test_a_dry_run_asks_for_nothing(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.pins[small] = b"1"
    assert Captured(capsys, "pin", "-n", large, small).out == (
        f"would pin {tree}/in/large  960KiB to flash\n"
        f"would pin {tree}/small\n"
        "would pin 2 files, 960KiB to flash\n"
    )
    done = Captured(capsys, "demote", "--dry-run", "--wait", large, small)
    assert done.out == (
        f"would demote {tree}/in/large  64KiB to disk\nwould demote 1 file, 64KiB to disk\n"
    )
    assert done.code == ExitCode.UNEXPECTED
    assert done.err.startswith(f"tierfs: {tree}/small: it is pinned")
    done = Captured(capsys, "unpin", "-n", large, small)
    assert done.out == f"would unpin {tree}/small\nwould unpin 1 file; 1 unchanged\n"
    assert (fake.pins, fake.requests) == ({small: b"1"}, {})


@pytest.mark.parametrize(("option", "end"), [([], b"\n"), (["-0"], b"\0")])
def test_paths_are_read_from_standard_input(
    fake: FakeMount,
    tree: Path,
    small: bytes,
    large: bytes,
    option: list[str],
    end: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As ``find`` makes it: with directories, and with what has gone meanwhile."""
    gone = os.fsencode(tree / "gone")
    with stdin(end.join([os.fsencode(tree), small, gone, large, b""])):
        done = Captured(capsys, "pin", *option, "-")
    assert fake.pins.keys() == {small, large}
    assert done.code == ExitCode.UNEXPECTED, "nobody removed it while the command ran"
    assert f"tierfs: {tree}/gone: No such file or directory\n" in done.err
    assert "skipped: 1 directories in the list" in done.err


# ---------------------------------------------------------------- what stands in the way


def test_one_line_for_each_problem_and_the_rest_is_done(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.broken[small] = errno.EPERM
    done = Captured(capsys, "pin", tree / "none", small, tree / "in", large, "/proc/version")
    assert fake.pins.keys() == {large}
    assert done.err.splitlines() == [
        f"tierfs: {tree}/none: No such file or directory",
        f"tierfs: {tree}/small: only its owner and root may do that",
        f"tierfs: {tree}/in: it is a directory; give -r for all files in and below it",
        "tierfs: /proc/version is not in a tierfs mount",
    ]
    assert done.code == ExitCode.UNEXPECTED, "that of the first"


def test_a_listed_file_elsewhere(
    fake: FakeMount, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with stdin(b"/etc/passwd\n" + small):
        done = Captured(capsys, "pin", "-")
    assert done.code == ExitCode.NOT_MOUNTED
    assert done.err == "tierfs: /etc/passwd is not in a tierfs mount\n"
    assert fake.pins.keys() == {small}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "the mount is read-only"),
        (errno.EBUSY, "it is pinned, so it stays on flash; use tierfs unpin first"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_promote_says_why_a_file_was_not_moved(
    fake: FakeMount, large: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.broken[large] = code
    done = Captured(capsys, "promote", "--wait", large)
    assert (done.code, done.err) == (1, f"tierfs: {os.fsdecode(large)}: {said}\n")


def test_a_file_that_goes_meanwhile_is_no_error(
    fake: FakeMount, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.broken[large] = errno.ENOENT
    done = Captured(capsys, "promote", large)
    assert (done.code, done.err) == (0, "skipped: 1 files that vanished meanwhile\n")


def test_a_daemon_that_is_gone_ends_it(
    fake: FakeMount, tree: Path, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.daemon_gone = True
    for words in (["pin", "-r", tree], ["where", small]):
        done = Captured(capsys, *words)
        assert done.code == ExitCode.NOT_MOUNTED
        assert done.err.count("the daemon of its mount is gone") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pin"], "name files or directories"),
        (["where", "-0", "x"], "tierfs where -0 -"),
        (["pin", "--for", "6m", "x"], "is not clear; write 6min"),
        (["pin", "--for", "1", "x"], "is not a length of time"),
        (["pin", "--for", "0s", "x"], "a second at least"),
        (["promote", "--to", "64K", "x"], "write 64KiB"),
        (["promote", "--to", "none", "x"], "see tierfs demote"),
        (["promote", "--to", "\u00e9", "x"], "ascii"),
        (["demote", "--timeout", "3s", "x"], "give both"),
        (["demote", "--wait", "--timeout", "3", "x"], "is not a length of time"),
    ],
)
def test_words_that_make_no_sense(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = Captured(capsys, *words)
    assert done.code == ExitCode.USAGE
    assert said in done.err
