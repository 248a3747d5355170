"""`tierfs top` and `tierfs profile` on a mount: who waited, where, for which tier, how long."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.drive import Drive, mounted_disk
from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount, directory
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import Argument, run, start, stop, wait_until
from tierfs.daemon.attribution import MOST_WATCHERS
from tierfs.daemon.control_client import ask

pytestmark = [pytest.mark.alone, pytest.mark.once]

FILES = 30
SLOWER = 8
"""Than a real disk: so that what a busy machine adds to each read is less than a twentieth."""
TAIL = 64 * 1024
RIGHT = 0.95
"""How much of the waiting must be attributed rightly."""

READER = f"""
import os, sys, time
waited = 0.0
for path in sys.argv[1:]:
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    began = time.monotonic()
    assert len(os.pread(file, {TAIL}, {HEAD})) == {TAIL}
    waited += time.monotonic() - began
print(waited)
"""
"""Reads the tail of each file, and prints how many seconds that took."""

BYSTANDER = """
import os, sys, time
while True:
    for path in sys.argv[1:]:
        file = os.open(path, os.O_RDONLY)
        os.pread(file, 4096, 0)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    time.sleep(0.005)
"""
"""Reads heads again and again, which are on flash."""


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """A slow disk."""
    with (
        directory(tmp_path_factory.mktemp("disk")) as home,
        mounted_disk(home, "--scale", f"{SLOWER}", "--read-ahead", "4KiB") as made,
    ):
        yield made


@pytest.fixture
def cold(make_mount: MakeMount, drive: Drive) -> Mount:
    """Files below /screens with tails on the disk, of which none is cached."""
    mount = make_mount(disk=drive.path / f"disk-{time.monotonic_ns()}")
    for name in ("screens/hot", "screens/other", "heads"):
        (mount.path / name).mkdir(parents=True)
    for number in range(FILES):
        (mount.path / f"screens/hot/{number}").write_bytes(os.urandom(HEAD + TAIL))
    (mount.path / "screens/other/0").write_bytes(os.urandom(HEAD + TAIL))
    for number in range(10):
        (mount.path / f"heads/{number}").write_bytes(os.urandom(HEAD))
    for path in (mount.path / "screens").glob("*/*"):  # it gets its place on the disk
        with path.open("rb") as file:
            os.fsync(file.fileno())
    mount.remount()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    return mount


def waited(found: list[dict[str, Any]], what: str, name: str, tier: str = "disk") -> float:
    """The seconds of one process or directory for a tier."""
    return float(sum(one["by_tier"].get(tier, 0.0) for one in found if one[what] == name))


def paths(mount: Mount, directory: str) -> list[Path]:
    return sorted((mount.path / directory).iterdir())


@contextlib.contextmanager
def beside(program: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    with start([sys.executable, "-c", program, *arguments]) as process:
        try:
            yield process
        finally:
            stop(process)


def test_known_waits_are_attributed_rightly(cold: Mount) -> None:
    hot = paths(cold, "screens/hot")
    random.Random(1).shuffle(hot)  # else the platter just comes to the next one
    out, planted = cold.path.parent / "profile.json", cold.path.parent / "planted"
    planted.symlink_to(Path(sys.executable).resolve())
    with beside(BYSTANDER, *paths(cold, "heads")), out.open("wb") as file:
        program: list[Argument] = [sys.executable, "-m", "tierfs", "profile", "--json", cold.path]
        with subprocess.Popen(
            [*program, "--for", "60s"], stdout=file, stderr=subprocess.PIPE
        ) as profile:
            assert profile.stderr is not None
            assert profile.stderr.readline().startswith(b"recording")
            took = float(run([planted, "-c", READER, *hot], timeout=60).stdout)
            profile.send_signal(signal.SIGINT)
            assert profile.wait(30) == 0
    found = json.loads(out.read_text())
    assert took > FILES * 0.03  # the disk is slow
    for_disk = found["tiers"]["disk"]["waited"]
    reads = found["disk_reads"]["waited"]
    assert RIGHT * took <= reads <= took / RIGHT
    assert waited(found["directories"], "directory", "/screens/hot") >= RIGHT * for_disk
    assert waited(found["processes"], "name", "planted") >= RIGHT * for_disk
    assert waited(found["directories"], "directory", "/heads", "flash") > 0
    assert waited(found["directories"], "directory", "/heads") == 0
    best = found["promotions"][0]
    assert (best["directory"], best["files"], best["bytes"]) == (
        "/screens/hot",
        FILES,
        FILES * TAIL,
    )
    # What the reads took, less what as many took on flash.
    assert found["flash_read"] < 0.01
    saved = reads - best["requests"] * found["flash_read"]
    assert best["saves"] == pytest.approx(saved, rel=0.05)


def test_only_the_session_of_a_command_counts(cold: Mount) -> None:
    (other,) = paths(cold, "screens/other")
    hot = paths(cold, "screens/hot")
    with beside(READER, *hot) as reader:
        told = tierfs(
            *("profile", cold.path, "--json", "--"),
            *("sh", "-c", 'cat "$0" > /dev/null; sleep 2; exit 7', other),
            statuses=(7,),
        )
        reader.wait(60)
    found = json.loads(told)
    assert {one["directory"] for one in found["directories"]} <= {"/screens/other", "/screens", "/"}
    assert waited(found["processes"], "name", "cat") == pytest.approx(
        found["tiers"]["disk"]["waited"]
    )
    (best, *_) = found["promotions"]
    assert (best["directory"], best["files"], best["bytes"]) == ("/screens/other", 1, TAIL)
    assert found["command"] == "sh"


def test_the_report_says_what_was_lost_and_what_would_help(cold: Mount) -> None:
    hot = paths(cold, "screens/hot")
    told = tierfs("profile", cold.path, "--", sys.executable, "-c", READER, *hot)
    name = Path(sys.executable).name
    assert f"{name} lost " in told
    assert "promoting 1920KiB (30 files) below /screens/hot would save " in told
    assert tierfs("profile", cold.path, "--for", "1s").count("\n") >= 1


def test_moves_are_the_daemons_own(cold: Mount) -> None:
    with beside(BYSTANDER, *paths(cold, "heads")):
        watcher = ask(cold.path, "watch")["watcher"]
        tierfs("promote", "--wait", *paths(cold, "screens/hot")[:5])
        rows = ask(cold.path, "watch", watcher=watcher, rows=True)["rows"]
    moves = [row for row in rows if row["request"] == "promote"]
    assert {(row["process"], row["tier"], row["directory"]) for row in moves} == {
        (cold.pid, "disk", "/screens/hot")
    }
    assert sum(row["bytes"] for row in moves) == 5 * TAIL
    assert sum(row["waited"] for row in moves) > 0


def test_top_agrees_with_the_metrics(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    listen(mount)
    mount.mount()
    (mount.path / "d").mkdir()
    for number in range(200):
        (mount.path / f"d/{number}").write_bytes(bytes(2 * HEAD))
    mount.remount()
    top = start([sys.executable, "-m", "tierfs", "top", "--json", "--interval", "1", mount.path])
    try:
        assert top.stdout is not None
        top.stdout.readline()
        before = scrape(mount)
        run(
            [
                "sh",
                "-c",
                'cd "$0"; for i in 1 2 3; do cat d/* > /dev/null; ls -l d > n$i; done',
                mount.path,
            ]
        )
        told = [json.loads(top.stdout.readline()) for _ in range(3)]
        after = scrape(mount)
    finally:
        stop(top)
    wanted = {
        "lookup": 'tierfs_requests_total{operation="lookup",result="ok"}',
        "read": 'tierfs_requests_total{operation="read",result="ok"}',
        "mknod": 'tierfs_requests_total{operation="mknod",result="ok"}',
    }
    for operation, name in wanted.items():
        seen = sum(one["operations"].get(operation, 0) * one["seconds"] for one in told)
        counted = after[name] - before.get(name, 0)
        assert counted > 0
        assert seen == pytest.approx(counted, rel=0.05), operation
    for tier in ("flash", "disk"):
        name = f'tierfs_read_bytes_total{{tier="{tier}"}}'
        seen = sum(one["tiers"][tier]["read_bytes"] * one["seconds"] for one in told)
        assert seen == pytest.approx(after[name] - before.get(name, 0), rel=0.05)
        assert seen > 0


def test_nothing_is_attributed_when_the_watcher_is_gone(make_mount: MakeMount) -> None:
    mount = make_mount()
    watcher = ask(mount.path, "watch")["watcher"]
    os.listdir(mount.path)
    assert ask(mount.path, "watch", watcher=watcher, rows=True)["rows"]
    time.sleep(10.5)  # as one that was killed
    os.listdir(mount.path)
    again = ask(mount.path, "watch", watcher=watcher, rows=True)
    assert again["watcher"] != watcher
    assert again["rows"] == []


def test_watchers_that_end_make_room(make_mount: MakeMount) -> None:
    mount = make_mount()
    for _ in range(MOST_WATCHERS + 1):
        tierfs("top", "--once", "--interval", "0.5", mount.path)


def test_without_the_fast_path_the_rest_is_shown(make_mount: MakeMount) -> None:
    mount = make_mount("no_fastpath")
    assert "not known without the fast path" in tierfs("top", "--once", mount.path)
    assert "without the fast path nobody knows" in tierfs("profile", mount.path, "--for", "1s")


def test_q_ends_it(make_mount: MakeMount) -> None:
    mount = make_mount()
    session = f"tierfs-test-{os.getpid()}"
    tmux = ["tmux", "-L", session]
    words = f"exec {sys.executable} -m tierfs top --interval 1 {mount.path}"

    def screen() -> str:
        return run([*tmux, "capture-pane", "-p"], statuses=(0, 1)).stdout

    run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", words])
    try:
        wait_until(lambda: "requests/s" in screen(), what="top shows a screen", timeout=30)
        lines = screen().splitlines()
        assert lines[0].startswith("tierfs top ")
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        assert any(line.startswith("directory ") for line in lines)
        run([*tmux, "send-keys", "q"])
        wait_until(lambda: not screen(), what="q ends it", timeout=10)
    finally:
        run([*tmux, "kill-server"], statuses=(0, 1))
