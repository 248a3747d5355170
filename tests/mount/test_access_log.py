"""A mount records what is read and written, and the log is replayed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import wait_until
from tierfs.tiering.access_log import Beginning, FileFacts, Line, Recording, Use

MOUNT_FAILED = 5
"""Exit code of tierfs, as documented."""


def recorded(make_mount: MakeMount, name: str = "access") -> tuple[Mount, Path]:
    mount = make_mount.formatted()
    mount.configure("access_log", f"{{file: {name}, size: 1MiB}}")
    return mount, mount.volume_file.parent / name


def lines(log: Path) -> list[Line]:
    recording = Recording(log)
    found = list(recording)
    assert recording.damaged == []
    return found


def test_what_is_read_and_written_is_recorded_and_can_be_replayed(make_mount: MakeMount) -> None:
    mount, log = recorded(make_mount)
    mount.mount()
    (mount.path / "in").mkdir()
    file = mount.path / "in/a file"
    file.write_bytes(bytes(2 * HEAD))
    os.setxattr(file, "user.state", b"hot")
    ino = file.stat().st_ino
    wait_until(lambda: any(isinstance(line, Use) for line in lines(log)), what="the write is told")
    mount.unmount()
    mount.mount()  # nothing is left in the kernel's page cache
    assert len(file.read_bytes()) == 2 * HEAD
    wait_until(lambda: any(reads(log, ino)), what="the read is told")
    file.unlink()
    found = lines(log)
    [facts, *_] = [line for line in found[::-1] if isinstance(line, FileFacts)]
    assert (facts.ino, facts.size, facts.head) == (ino, 2 * HEAD, HEAD)
    assert facts.paths == (b"/in/a file",)
    assert (b"user.state", b"hot") in facts.xattrs
    assert any(line.write and line.size == 2 * HEAD for line in found if isinstance(line, Use))
    assert sum(use.size for use in reads(log, ino)) >= 2 * HEAD
    assert isinstance(found[0], Beginning)
    assert found[0].head == HEAD
    policy = mount.volume_file.parent / "new.yaml"
    policy.write_text("version: 1\n")
    told = json.loads(tierfs("policy", "replay", log, "--policy", policy, "--json"))
    assert told["policies"][0]["reads"] >= 1
    assert told["flash"] == found[0].flash


def reads(log: Path, ino: int) -> list[Use]:
    return [
        line for line in lines(log) if isinstance(line, Use) and line.ino == ino and not line.write
    ]


def test_a_log_that_cannot_be_made_refuses_the_mount(make_mount: MakeMount) -> None:
    mount, log = recorded(make_mount, "file/access")
    log.parent.write_text("not a directory")
    said = tierfs("mount", mount.volume_file, mount.path, statuses=[MOUNT_FAILED])
    assert f"access_log: {log} cannot be opened: " in said
    assert not os.path.ismount(mount.path)
