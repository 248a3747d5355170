"""Pinning and moving files by hand: as owner, as somebody else and as root, by program and command.

Whether the mount moves anything is not the question here: what was asked for may be done already.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import MakeMount, both_ways
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import Argument, as_root, run, start, stop, wait_until
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.long

NOBODY = "65534"
STRANGER = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
WEAK_ROOT = ("setpriv", "--bounding-set=-fowner", "--inh-caps=-fowner")
"""Root that may not do as an owner may (CAP_FOWNER)."""

SET = "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], sys.argv[3].encode())"


@pytest.fixture
def file(mounted: Mount) -> Path:
    """A file with a head and a tail."""
    path = mounted.path / "file"
    path.write_bytes(bytes(2 * HEAD))
    return path


def absent(path: Path, name: str) -> bool:
    """Whether the file has no such attribute."""
    try:
        os.getxattr(path, name)
    except OSError as error:
        return error.errno == errno.ENODATA
    return False


def give_away(file: Path, mode: int) -> None:
    """Let the file be nobody's."""
    file.chmod(mode)
    run(as_root("chown", NOBODY, file))


def said_by(*argv: Argument) -> str:
    """What a program of root's says, which may fail."""
    done = run(as_root(*argv), statuses=range(256))
    return done.stdout + done.stderr


# ---------------------------------------------------------------- attributes


def test_a_job_script_pins_and_unpins(file: Path) -> None:
    assert absent(file, "tierfs.pin")
    os.setxattr(file, "tierfs.pin", b"1", os.XATTR_CREATE)
    assert os.getxattr(file, "tierfs.pin") == b"1"
    with pytest.raises(FileExistsError):
        os.setxattr(file, "tierfs.pin", b"6h", os.XATTR_CREATE)
    os.setxattr(file, "tierfs.pin", b"6h", os.XATTR_REPLACE)
    assert os.getxattr(file, "tierfs.pin").endswith(b"Z")
    os.removexattr(file, "tierfs.pin")
    with pytest.raises(OSError, match="No data"):
        os.removexattr(file, "tierfs.pin")
    with pytest.raises(OSError, match="No data"):
        os.setxattr(file, "tierfs.pin", b"1", os.XATTR_REPLACE)


def test_an_open_file_can_be_pinned(file: Path) -> None:
    with file.open("r+b") as opened:
        os.setxattr(opened.fileno(), "tierfs.pin", b"1")
    assert os.getxattr(file, "tierfs.pin") == b"1"


def test_setfattr_pins_and_requests(file: Path) -> None:
    run(["setfattr", "-n", "tierfs.pin", "-v", "6h", file])
    assert run(["getfattr", "--only-values", "-n", "tierfs.pin", file]).stdout.endswith("Z")
    run(["setfattr", "-x", "tierfs.pin", file])
    assert absent(file, "tierfs.pin")
    run(["setfattr", "-n", "tierfs.prefix", "-v", "1MiB", file])
    assert requested_or_done(file, b"1048576")


def requested_or_done(file: Path, prefix: bytes) -> bool:
    """Whether a prefix was asked for; the request is looked at first, since it ends last."""
    if not absent(file, "tierfs.requested"):
        return os.getxattr(file, "tierfs.requested") == prefix
    return os.getxattr(file, "tierfs.prefix") == prefix


@pytest.mark.parametrize("value", [b"", b"6m", b"\xff\0", b"x" * 65536])
@pytest.mark.parametrize("name", ["tierfs.pin", "tierfs.prefix"])
def test_bad_values_are_refused_and_change_nothing(file: Path, name: str, value: bytes) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        os.setxattr(file, name, value)
    assert (absent(file, "tierfs.pin"), absent(file, "tierfs.requested")) == (True, True)


def test_only_regular_files_and_pins_of_directories(mounted: Mount) -> None:
    fifo = mounted.path / "fifo"
    os.mkfifo(fifo)
    for path, name in [
        (fifo, "tierfs.pin"),
        (fifo, "tierfs.prefix"),
        (mounted.path, "tierfs.prefix"),
    ]:
        with pytest.raises(OSError, match="not supported"):
            os.setxattr(path, name, b"1")
        assert absent(path, name)


def test_no_time_is_changed(file: Path) -> None:
    before = file.stat()
    os.setxattr(file, "tierfs.pin", b"1")
    os.setxattr(file, "tierfs.prefix", b"all")
    os.removexattr(file, "tierfs.pin")
    assert file.stat().st_ctime_ns == before.st_ctime_ns
    assert file.stat().st_mtime_ns == before.st_mtime_ns


@both_ways
def test_answers_follow_at_once(make_mount: MakeMount, options: tuple[str, ...]) -> None:
    """Also where stored attributes are answered natively."""
    mount = make_mount(*options)
    file = mount.path / "file"
    file.write_bytes(b"data")
    for _ in range(20):
        os.setxattr(file, "user.stored", b"1")
        assert (os.getxattr(file, "user.stored"), absent(file, "user.other")) == (b"1", True)
        assert absent(file, "tierfs.pin")
        os.setxattr(file, "tierfs.pin", b"1")
        assert os.getxattr(file, "tierfs.pin") == b"1"
        assert os.listxattr(file) == ["user.stored"]
        os.removexattr(file, "tierfs.pin")
    os.setxattr(file, "tierfs.pin", b"1")
    mount.remount(*options)
    assert os.getxattr(file, "tierfs.pin") == b"1"


def test_a_mount_that_is_read_only(make_mount: MakeMount) -> None:
    mount = make_mount()
    file = mount.path / "file"
    file.write_bytes(b"data")
    os.setxattr(file, "tierfs.pin", b"1")
    mount.remount("ro")
    assert os.getxattr(file, "tierfs.pin") == b"1"
    with pytest.raises(OSError, match="Read-only"):
        os.setxattr(file, "tierfs.prefix", b"all")
    with pytest.raises(OSError, match="Read-only"):
        os.removexattr(file, "tierfs.pin")
    assert "the mount is read-only" in tierfs("unpin", file, statuses=[ExitCode.UNEXPECTED])


# ---------------------------------------------------------------- who


def setting(switch: tuple[str, ...]) -> Callable[[Path], str]:
    """Pins a file as somebody; returns what Python's last line says, nothing if it worked."""
    argv = (*switch, sys.executable, "-c", SET)
    return lambda file: (said_by(*argv, file, "tierfs.pin", "1").splitlines() or [""])[-1]


@pytest.mark.parametrize(
    ("who", "mode", "said"),
    [
        (STRANGER, 0o644, ""),
        (STRANGER, 0o444, "Permission denied"),
        ((), 0o000, ""),
        (WEAK_ROOT, 0o666, "Operation not permitted"),
    ],
    ids=["owner", "owner who may not write", "root", "root without the capability"],
)
def test_a_file_of_nobody(file: Path, who: tuple[str, ...], mode: int, said: str) -> None:
    give_away(file, mode)
    answer = setting(who)(file)
    assert said in answer
    assert bool(answer) == bool(said)


def test_who_may_write_is_not_enough(file: Path) -> None:
    file.chmod(0o666)
    assert "Operation not permitted" in setting(STRANGER)(file)
    os.setxattr(file, "tierfs.pin", b"1")
    removing = said_by(*STRANGER, "setfattr", "-x", "tierfs.pin", file)
    assert "Operation not permitted" in removing
    assert os.getxattr(file, "tierfs.pin") == b"1"


# ---------------------------------------------------------------- commands


def where(*words: Argument) -> list[dict[str, Any]]:
    """What ``tierfs where`` says to programs."""
    found = json.loads(tierfs("where", "--json", *words))
    assert isinstance(found, list)
    return found


def test_commands_do_what_they_say(mounted: Mount, file: Path) -> None:
    (mounted.path / "in").mkdir()
    inner = mounted.path / "in/f\u00fcr\nalle"
    inner.write_bytes(b"x")
    assert "pinned 1 directory and 2 files" in tierfs("pin", "--for", "6h", "-r", mounted.path)
    found = {Path(one["path"]).name: one for one in where("-r", mounted.path)}
    assert found.keys() == {"file", inner.name}
    assert all(one["pinned_until"] for one in found.values())
    assert found["file"]["flash"] + found["file"]["disk"] == found["file"]["size"] == 2 * HEAD
    refused = tierfs("demote", file, inner, statuses=[ExitCode.UNEXPECTED])
    assert refused.count("it is pinned") == 2
    assert "unpinned 1 directory and 0 files" in tierfs("unpin", "-r", mounted.path)
    tierfs("demote", file)
    assert requested_or_done(file, b"0")


@pytest.mark.usefixtures("file")
def test_a_list_of_find(mounted: Mount) -> None:
    names = run(["find", mounted.path, "-print0"]).stdout
    command = [sys.executable, "-m", "tierfs", "pin", "-0", "-"]
    assert run(command, stdin=names).stdout == "pinned 1 file, 64KiB to flash\n"


def test_control_c_while_a_list_is_awaited(file: Path) -> None:
    plain = ["env", "--default-signal=INT", sys.executable]  # a background job ignores it
    process = start([*plain, "-m", "tierfs", "pin", "-"])
    try:
        assert process.stdin is not None
        process.stdin.write(f"{file}\n")
        process.stdin.flush()
        wait_until(lambda: not absent(file, "tierfs.pin"), what="the file is pinned")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        stop(process)
    assert (process.returncode, err) == (130, "")
    assert out.startswith("pinned 1 file")


def test_a_reader_that_has_seen_enough(mounted: Mount) -> None:
    for number in range(2000):
        (mounted.path / f"{number}").touch()
    command = f"{sys.executable} -m tierfs where -r {mounted.path} | head -1"
    done = run(["bash", "-o", "pipefail", "-c", command])
    assert (done.stdout.split()[0], done.stderr) == ("size", "")


def test_the_stranger_gets_a_line(file: Path) -> None:
    said = said_by(*STRANGER, sys.executable, "-m", "tierfs", "promote", file)
    assert said.splitlines()[0] == f"tierfs: {file}: Permission denied"
    file.chmod(0o666)
    said = said_by(*STRANGER, sys.executable, "-m", "tierfs", "promote", file)
    assert said.splitlines()[0] == f"tierfs: {file}: only its owner and root may do that"


# ---------------------------------------------------------------- why a file is not there


def test_what_does_not_fit_on_flash_is_told_at_once(mounted: Mount) -> None:
    """A sparse file that is larger than any filesystem."""
    path = mounted.path / "huge"
    with path.open("wb") as file:
        file.truncate(2**42)
    for verb in ("pin", "promote"):
        words = (verb, "--wait", "--timeout", "50s", path)
        assert "flash has no room for it" in tierfs(*words, statuses=[ExitCode.NO_ROOM])
    assert os.getxattr(path, "tierfs.waits") == b"room stuck"
    (place,) = json.loads(tierfs("where", "--json", path))
    assert (place["waits"], place["stuck"]) == ("room", True)
    os.removexattr(path, "tierfs.pin")


# ---------------------------------------------------------------- directories


def test_what_is_made_in_a_pinned_directory_is_pinned(mounted: Mount) -> None:
    directory = mounted.path / "active"
    (directory / "below").mkdir(parents=True)
    (directory / "before").write_bytes(bytes(2 * HEAD))
    said = tierfs("pin", "--wait", "--timeout", "50s", "-r", directory)
    assert "pinned 1 directory and 1 file" in said
    assert "1 file brought to flash" in said
    assert os.getxattr(directory, "tierfs.pin") == b"1"
    made = directory / "below" / "made"
    made.write_bytes(bytes(2 * HEAD))
    assert os.getxattr(made, "tierfs.pinned-by") == b"1 /active"
    shown = json.loads(tierfs("where", "--json", made))[0]
    assert (shown["pinned"], shown["pinned_until"], shown["pinned_by"]) == (True, None, "/active")
    assert "no end" in tierfs("where", made)
    assert "(pinned by /active)" in tierfs("where", made)
    wait_until(lambda: os.getxattr(made, "tierfs.location") == b"flash", what="it comes")
    assert "the directory /active of the mount pins it" in tierfs(
        "unpin", made, statuses=[ExitCode.UNEXPECTED]
    )
    mounted.remount()
    assert os.getxattr(made, "tierfs.pinned-by") == b"1 /active"
    tierfs("unpin", "-r", directory)
    assert absent(made, "tierfs.pinned-by")
    assert absent(directory, "tierfs.pin")
