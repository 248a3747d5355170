"""``tierfs scrub`` on a mount: wrong copies are healed, what is lost gives EIO and is told."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from xxhash import xxh3_128

from tests.fs.damaging import flip
from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tierfs.common.errors import ExitCode

DATA = os.urandom(3 * HEAD)


def scrub(mount: Mount, verb: str, *options: str, code: int = ExitCode.OK) -> dict[str, Any]:
    """What a verb says, in JSON."""
    done = tierfs("scrub", verb, mount.path, "--json", *options, statuses=[code])
    record = json.loads(done)
    assert isinstance(record, dict)
    return record


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    """A mount that mirrors what is synced."""
    made = make_mount.formatted()
    (made.volume_file.parent / "policy.yaml").write_text("version: 1\nmirror: sync\n")
    made.configure("policy", "policy.yaml")
    listen(made)
    made.mount()
    return made


@pytest.fixture
def mirrored(mount: Mount) -> Path:
    """A file whose head is mirrored, and which nothing remembers."""
    path = mount.path / "file"
    with path.open("wb") as stream:
        stream.write(DATA)
        os.fsync(stream.fileno())
    assert os.getxattr(path, "tierfs.mirrored") == b"yes"
    mount.remount()
    return path


def test_a_wrong_head_is_healed_while_it_is_read(mount: Mount, mirrored: Path) -> None:
    mount.log.allow("was healed")
    assert scrub(mount, "start", "--wait")["files"] == 1
    expected = b"xxh3-128:" + xxh3_128(DATA).hexdigest().encode()
    assert os.getxattr(mirrored, "tierfs.checksum") == expected
    flip(mount.flash_object(mirrored.stat().st_ino), 100)
    assert mirrored.read_bytes() != DATA  # reads do not verify
    assert scrub(mount, "start", "--wait")["healed"] == 1
    assert mirrored.read_bytes() == DATA  # nor does the kernel hold what it read
    assert "copies healed" in tierfs("scrub", "status", mount.path)


def test_lost_bytes_are_told_everywhere(mount: Mount, mirrored: Path) -> None:
    mount.log.allow("no copy has them right|object is missing")
    scrub(mount, "start", "--wait")
    flip(mount.disk_object(mirrored.stat().st_ino), 2 * HEAD)
    assert len(mirrored.read_bytes()) == len(DATA)
    found = scrub(mount, "start", "--wait", code=ExitCode.DAMAGE)
    assert (found["lost_files"], found["lost_paths"]) == (1, ["/file"])
    with pytest.raises(OSError, match="Input/output error") as failed:
        mirrored.read_bytes()
    assert failed.value.errno == errno.EIO
    with mirrored.open("rb") as stream:
        assert stream.read(HEAD) == DATA[:HEAD]
    assert "no copy has right" in tierfs("status", mount.path)
    assert scrape(mount)["tierfs_lost_files"] == 1
    mirrored.write_bytes(b"restored")
    assert mirrored.read_bytes() == b"restored"
    assert scrub(mount, "status")["lost_files"] == 0


def test_a_quiet_scrub_prints_lost_files_only(mount: Mount, mirrored: Path) -> None:
    mount.log.allow("no copy has them right")
    assert tierfs("scrub", "start", "--wait", "-q", mount.path) == ""
    flip(mount.disk_object(mirrored.stat().st_ino), 2 * HEAD)
    said = tierfs("scrub", "start", "--wait", "-q", mount.path, statuses=[ExitCode.DAMAGE])
    assert "  /file\n" in said
    assert "verified" not in said
    assert tierfs("scrub", "pause", "-q", mount.path, statuses=[ExitCode.DAMAGE])


def test_a_scrub_can_be_paused_and_goes_on(mount: Mount) -> None:
    assert scrub(mount, "pause")["state"] == "idle"
    assert scrub(mount, "start", "--wait")["state"] == "idle"
    assert json.loads(tierfs("status", mount.path, "--json"))["scrub"]["verified_since"]
