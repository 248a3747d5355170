"""``tierfs changes``: every change, once it is durable, in order."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until
from tierfs.common.errors import ExitCode


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    return make_mount()


def changes(mount: Mount, *options: str) -> list[dict[str, Any]]:
    said = tierfs("changes", "--json", "--reader", "test", *options, mount.path)
    return [json.loads(line) for line in said.splitlines()]


def test_a_reader_gets_every_change_once(mount: Mount) -> None:
    assert changes(mount) == []
    path = mount.path / os.fsdecode(b"na\xffme")
    path.write_bytes(b"bytes")
    os.setxattr(path, "user.label", b"\0value")
    path.chmod(0o600)
    ino = path.stat().st_ino
    path.rename(mount.path / "renamed")
    found = changes(mount)
    assert [change["serial"] for change in found] == sorted(change["serial"] for change in found)
    of = [change for change in found if change.get("ino") == ino]
    assert {"put name", "delete name", "put xattr", "put inode"} <= {
        f"{change['change']} {change.get('of')}" for change in of
    }
    (xattr,) = [change for change in of if change.get("of") == "xattr"]
    assert base64.b64decode(xattr["value"]) == b"\0value"
    names = [change["name"] for change in of if change.get("of") == "name"]
    assert names == [os.fsdecode(b"na\xffme"), os.fsdecode(b"na\xffme"), "renamed"]
    assert [change for change in of if change.get("of") == "inode"][-1]["mode"] == 0o100600
    assert changes(mount) == []
    os.unlink(mount.path / "renamed")
    gone = {"change": "delete", "of": "name", "name": "renamed"}
    (last,) = [change for change in changes(mount) if change.get("of") == "name"]
    assert gone.items() <= last.items()


def test_bytes_are_dirtied_and_settled(mount: Mount) -> None:
    path = mount.path / "file"
    path.write_bytes(b"bytes")
    os.sync()
    ino = path.stat().st_ino
    changes(mount)
    tierfs("demote", "--wait", path)  # which syncs it before
    settled = [change for change in changes(mount) if change["change"] == "settled"]
    assert any(change.get("ino") == ino or change.get("below", 0) > ino for change in settled)
    with path.open("r+b") as file:
        file.write(b"other")
    assert {"ino": ino, "change": "dirtied"}.items() <= next(
        change for change in changes(mount) if change["change"] == "dirtied"
    ).items()


def test_a_reader_goes_on_after_a_mount(mount: Mount) -> None:
    assert changes(mount) == []
    (mount.path / "file").touch()
    mount.remount()
    assert any(change.get("name") == "file" for change in changes(mount))
    tierfs("changes", "--forget", "--reader", "test", mount.path)
    (mount.path / "other").touch()
    assert not any(change.get("name") == "other" for change in changes(mount))


def readers(mount: Mount) -> list[str]:
    """The readers of the feed, as the index has them."""
    uri = f"file:{mount.flash / 'index.db'}?mode=ro&vfs=unix-none"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        rows = connection.execute("SELECT name FROM feed_reader WHERE name != 'backup'")
        return [name for (name,) in rows]


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGINT, 130),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_changes_are_followed_until_the_end(mount: Mount, number: int, status: int) -> None:
    command = [sys.executable, "-m", "tierfs", "changes", "--follow", str(mount.path)]
    numbers = itertools.count()
    said: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        os.set_blocking(follower.stdout.fileno(), False)

        def follows() -> bool:
            (mount.path / f"file-{next(numbers)}").touch()
            assert follower.stdout is not None
            said.append(follower.stdout.read() or b"")
            return b"put name parent=1 name=file-" in b"".join(said)

        wait_until(follows, what="a change is printed")
        assert [name for name in readers(mount) if name.startswith("process ")]
        follower.send_signal(number)
        assert follower.wait(20) == status

    def left() -> int:
        return sum(name.startswith("process ") for name in readers(mount))

    wait_until(lambda: left() == (number == signal.SIGKILL), what="the reader has gone")
    mount.remount()
    assert readers(mount) == ["copy"]


@pytest.mark.parametrize("reader", ["copy", "backup"])
def test_readers_of_the_daemon_are_not_for_others(mount: Mount, reader: str) -> None:
    said = tierfs("changes", "--reader", reader, mount.path, statuses=[ExitCode.NOT_MOUNTED])
    assert "cannot be called" in said


def test_a_reader_that_is_too_far_behind_is_told(mount: Mount) -> None:
    (mount.path / "file").touch()
    mount.back_up()
    for number in range(30):
        (mount.path / f"{number}").touch()
    wait_until(lambda: mount.status()["backup"]["behind"] == 0, what="the feed is copied")

    def trimmed() -> bool:
        said = tierfs("changes", "--reader", "late", "--from", "1", mount.path, statuses=[0, 6])
        return "start over" in said

    wait_until(trimmed, what="the feed is trimmed")


def test_a_reader_misses_no_change_of_a_daemon_that_was_killed(mount: Mount) -> None:
    assert changes(mount) == []
    for number in range(400):
        (mount.path / f"{number}").touch()
    (mount.path / "0").rename(mount.path / "renamed")
    mount.kill()
    mount.unmount()
    mount.mount()
    found = {
        (change["change"], change["name"])
        for change in changes(mount)
        if change.get("of") == "name"
    }
    assert found >= {("put", "renamed"), *(("put", f"{number}") for number in range(1, 400))}
