"""A mount acts on its policy: what applications see stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest

from tests.support.exporter import listen, scrape
from tests.support.filesystems import memory_filesystem, used
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import drop_page_cache, wait_until
from tierfs.common.errors import ExitCode
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.common.units import MIB
from tierfs.metadata.index import Index
from tierfs.metadata.pins_and_requests import Request
from tierfs.policy.volume_file import load_volume_file

CAPACITY = 48
ARCHIVE = "rules:\n  - {name: archive, match: {path: /archive/**}, head: none}"


def location(path: Path) -> bytes:
    return os.getxattr(path, "tierfs.location")


def make_files(mount: Mount, count: int, size: int = HEAD, under: str = ".") -> dict[Path, bytes]:
    """Files of noise by path."""
    directory = mount.path / under
    directory.mkdir(exist_ok=True)
    contents = {directory / f"{number}": os.urandom(size) for number in range(count)}
    for path, data in contents.items():
        path.write_bytes(data)
    return contents


def check(contents: dict[Path, bytes]) -> None:
    drop_page_cache()
    for path, data in contents.items():
        assert path.read_bytes() == data, path


def put_policy(mount: Mount, text: str) -> None:
    (mount.volume_file.parent / "policy.yaml").write_text(f"version: 1\n{text}\n")
    mount.configure("policy", "policy.yaml")


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    """Formatted, not mounted."""
    return make_mount.formatted()


def test_flash_over_its_watermark_is_evicted_and_nobody_notices(
    scratch: Path, make_mount: MakeMount
) -> None:
    with memory_filesystem(scratch / "small-flash", CAPACITY) as flash:
        mount = make_mount.formatted(flash=flash)
        put_policy(mount, "flash: {high_watermark: 90%, low_watermark: 85%, reserve: 0}")
        listen(mount)
        mount.mount()
        contents = make_files(mount, CAPACITY * 8)
        assert used(flash) > CAPACITY * MIB // 2
        before = {path: path.stat() for path in contents}
        put_policy(mount, "flash: {high_watermark: 40%, low_watermark: 25%, reserve: 0}")
        low = CAPACITY * MIB // 4
        wait_until(lambda: used(flash) <= low + MIB, what="flash is evicted", timeout=30)
        assert {path: path.stat() for path in before} == before
        check(contents)
        evicted = 'tierfs_moves_total{kind="evict",outcome="moved"}'
        wait_until(lambda: scrape(mount).get(evicted, 0) > 0, what="evictions are counted")
        samples = scrape(mount)
        assert samples['tierfs_flash_watermark_bytes{mark="low"}'] == pytest.approx(low, rel=0.01)
        mount.unmount()


def test_rules_by_place_pins_and_mirrors(mount: Mount) -> None:
    put_policy(
        mount,
        "rules:\n"
        "  - {name: archive, match: {path: /archive/**}, head: none}\n"
        "  - {name: scratch, match: {path: /scratch/**}, mirror: never}\n",
    )
    mount.mount()
    archive = make_files(mount, 20, under="archive")
    scratched = make_files(mount, 20, under="scratch")
    live = make_files(mount, 20, size=2 * HEAD, under="live")
    pinned = next(iter(live))
    os.setxattr(pinned, "tierfs.pin", b"1")
    wait_until(lambda: location(pinned) == b"flash", what="the pinned file comes up", timeout=30)
    wait_until(
        lambda: all(location(path) == b"disk" for path in archive),
        what="the archive goes",
        timeout=30,
    )
    wait_until(
        lambda: mount.status()["tiering"]["moved"].get("mirror", 0) >= len(live) - 1,
        what="heads are mirrored",
        timeout=30,
    )
    inode = next(iter(scratched)).stat().st_ino
    assert not mount.disk_object(inode).exists()
    check(archive | scratched | live)


def test_reads_promote(mount: Mount) -> None:
    put_policy(mount, "promote: {reads: 3, within: 1h}")
    mount.mount()
    contents = make_files(mount, 2, size=4 * HEAD)
    often, seldom = contents
    for _ in range(4):
        drop_page_cache()
        assert often.read_bytes() == contents[often]
        time.sleep(1.2)  # or it would be one visit
    wait_until(lambda: location(often) == b"flash", what="the file is promoted", timeout=30)
    assert location(seldom) == b"split"
    check(contents)


def test_plan_tells_and_moves_nothing(mount: Mount) -> None:
    put_policy(
        mount,
        'mover: {window: "00:00-00:01"}\nrules:\n'
        "  - {name: archive, match: {path: /archive/**}, head: none}",
    )
    mount.mount()
    archive = make_files(mount, 7, under="archive")
    plan = json.loads(tierfs("policy", "plan", mount.path, "--json"))
    moves = {(move["move"], move["rule"]): (move["files"], move["bytes"]) for move in plan["moves"]}
    assert moves == {("demote", "archive"): (7, 7 * HEAD)}
    assert plan["files"] == 7
    told = tierfs("policy", "plan", mount.volume_file)
    assert "archive" in told
    assert "head: none" in told
    assert all(location(path) == b"flash" for path in archive)


def test_a_read_only_mount_moves_nothing(mount: Mount) -> None:
    put_policy(mount, ARCHIVE)
    mount.mount()
    files = make_files(mount, 2)
    inode = next(iter(files)).stat().st_ino
    mount.unmount()
    index = Index(load_volume_file(mount.volume_file).index, SYSTEM, Metrics())
    with contextlib.closing(index), index.transaction():
        index.pins_and_requests.request(Request(inode, 0))
    mount.mount("ro")
    assert json.loads(tierfs("policy", "plan", mount.path, "--json"))["files"] == 2
    time.sleep(2.5)
    check(files)
    assert all(location(path) == b"flash" for path in files)
    mount.remount()
    wait_until(lambda: location(next(iter(files))) == b"disk", what="it is moved", timeout=30)
    check(files)


def test_unmounting_abandons_moves_and_the_next_mount_goes_on(mount: Mount) -> None:
    put_policy(mount, "mover: {rate: 64KiB/s}\n" + ARCHIVE)
    mount.mount()
    contents = make_files(mount, 60, under="archive")
    wait_until(
        lambda: mount.status()["tiering"]["moving"] > 0, what="moves are under way", timeout=30
    )
    mount.unmount()
    put_policy(mount, ARCHIVE)
    mount.mount()
    wait_until(
        lambda: all(location(path) == b"disk" for path in contents), what="all goes", timeout=40
    )
    check(contents)


INODES = 400
"""Of a flash whose bytes would do for many times as many heads."""


def test_a_flash_without_inodes_keeps_what_is_read(scratch: Path, make_mount: MakeMount) -> None:
    with memory_filesystem(scratch / "small-flash", CAPACITY, inodes=INODES) as flash:
        mount = make_mount.formatted(flash=flash)
        put_policy(mount, "flash: {high_watermark: 85%, low_watermark: 75%, reserve: 0}")
        listen(mount)
        mount.mount()

        def taken() -> int:
            facts = os.statvfs(flash)
            return facts.f_files - facts.f_ffree

        contents = make_files(mount, 2 * INODES, size=1000)
        wait_until(lambda: taken() <= INODES * 0.85, what="files go for their inodes")
        # Others use that filesystem too, between the two calls.
        wait_until(
            lambda: os.statvfs(mount.path).f_ffree == os.statvfs(mount.disk).f_ffree > INODES,
            what="the mount has the inodes of the disk",
        )
        pinned = list(contents)[-50:]
        tierfs("pin", "--wait", "--timeout", "50s", *pinned)
        assert all(location(path) == b"flash" for path in pinned)
        wait_until(lambda: taken() <= INODES * 0.85, what="the mark holds again")
        told = json.loads(tierfs("status", "--json", mount.path))["tiering"]
        assert told["flash_files"] == INODES
        assert told["files_high_watermark"] == INODES * 85 // 100
        assert told["pinned"] == {"files": 50, "bytes": 50_000}
        check(contents)
        stuck = list(contents)[:400]
        said = tierfs("pin", "--wait", "--timeout", "50s", *stuck, statuses=[ExitCode.NO_ROOM])
        assert "flash has no inode for it" in said
        counted = 'tierfs_pinned_elsewhere_files{reason="inodes"}'
        wait_until(lambda: scrape(mount)[counted] > 0, what="what is stuck is counted")
        check(contents)
        mount.unmount()


def test_fsync_under_mirror_sync_returns_when_the_disk_has_the_file(mount: Mount) -> None:
    put_policy(
        mount, "rules:\n  - {name: strict, match: {path: /strict/**}, mirror: sync}\nmirror: never"
    )
    mount.mount()
    for under, mirrored in [("strict", b"yes"), ("loose", b"no")]:
        directory = mount.path / under
        directory.mkdir()
        data = os.urandom(2 * HEAD)
        with (directory / "file").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            assert os.getxattr(file.fileno(), "tierfs.mirrored") == mirrored
            assert os.getxattr(file.fileno(), "tierfs.prefix") == b"%d" % HEAD
            if under == "strict":
                file.seek(0)
                file.write(b"changed")
                file.flush()
                assert os.getxattr(file.fileno(), "tierfs.location") == b"disk"
                data = b"changed" + data[7:]
        check({directory / "file": data})
