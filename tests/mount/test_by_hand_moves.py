"""Files moved by hand: the bytes go where they were asked to, with and without a policy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.filesystems import MEBIBYTE, memory_filesystem, used
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import drop_page_cache, run, wait_until

pytestmark = pytest.mark.once

DATA = os.urandom(5 * HEAD)
COUNT = 20

POLICY = """\
version: 1
flash: {high_watermark: 25%, low_watermark: 15%, reserve: 1MiB}
"""


@pytest.fixture
def files(mounted: Mount) -> list[Path]:
    """Files with a head and a tail."""
    made = [mounted.path / f"file-{number}" for number in range(COUNT)]
    for number, path in enumerate(made):
        path.write_bytes(content(number))
    return made


def content(number: int) -> bytes:
    return b"%08d" % number + DATA


def locations(files: list[Path]) -> set[bytes]:
    return {os.getxattr(path, "tierfs.location") for path in files}


def assert_whole(files: list[Path]) -> None:
    """Every byte is there, whatever the kernel remembers."""
    drop_page_cache()
    assert [path.read_bytes() for path in files] == [content(n) for n in range(len(files))]


def test_files_are_promoted_and_demoted_whole(mounted: Mount, files: list[Path]) -> None:
    times = [(path.stat().st_ctime_ns, path.stat().st_mtime_ns) for path in files]
    tierfs("promote", "--wait", "--timeout", "60s", "-r", mounted.path)
    assert locations(files) == {b"flash"}
    assert_whole(files)
    tierfs("demote", "--wait", "--timeout", "60s", "-r", mounted.path)
    assert locations(files) == {b"disk"}
    objects = [mounted.flash_object(path.stat().st_ino) for path in files]
    wait_until(lambda: not any(map(Path.exists, objects)), what="flash is freed")
    assert [(path.stat().st_ctime_ns, path.stat().st_mtime_ns) for path in files] == times
    mounted.remount()
    assert_whole(files)


def test_files_are_promoted_in_part(files: list[Path]) -> None:
    said = tierfs("promote", "--to", "100000", "--wait", "--timeout", "60s", *files)
    assert said.startswith(f"asked to promote {COUNT} files, ")
    assert {os.getxattr(path, "tierfs.prefix") for path in files} == {b"102400"}
    assert_whole(files)


def test_a_pin_brings_files_to_flash(files: list[Path]) -> None:
    tierfs("demote", "--wait", "--timeout", "60s", *files)
    tierfs("pin", "--for", "6h", "--wait", "--timeout", "60s", *files)
    assert locations(files) == {b"flash"}
    assert_whole(files)


def test_a_job_script_waits_by_attributes_alone(files: list[Path]) -> None:
    program = """
import os, sys, time
os.setxattr(sys.argv[1], "tierfs.prefix", b"all")
while os.getxattr(sys.argv[1], "tierfs.location") != b"flash":
    time.sleep(0.05)
"""
    run(["python3", "-c", program, files[0]], timeout=60)
    assert files[0].read_bytes() == content(0)


def test_a_pinned_file_outlasts_the_others(make_mount: MakeMount, scratch: Path) -> None:
    """The heads do not fit below the high watermark; those of files not pinned make room."""
    with memory_filesystem(scratch / "small-flash", 40) as flash:
        mount = make_mount.formatted(flash=flash)
        (scratch / "policy.yaml").write_text(POLICY)
        mount.configure("policy", json.dumps(str(scratch / "policy.yaml")))
        mount.mount()
        made = [mount.path / f"file-{number}" for number in range(200)]
        for number, path in enumerate(made[:2]):
            path.write_bytes(content(number))
        tierfs("pin", "--wait", "--timeout", "60s", *made[:2])
        for number, path in enumerate(made[2:], 2):
            path.write_bytes(content(number))
        wait_until(lambda: b"disk" in locations(made), what="flash is made room on", timeout=60)
        wait_until(lambda: used(flash) < 10 * MEBIBYTE, what="there is room", timeout=60)
        assert locations(made[:2]) == {b"flash"}
        tierfs("unpin", made[0])
        tierfs("demote", "--wait", "--timeout", "60s", made[0])
        assert [locations([path]) for path in made[:2]] == [{b"disk"}, {b"flash"}]
        assert_whole(made)
        mount.unmount()
