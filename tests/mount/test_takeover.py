"""A supervised mount survives its daemon: another one takes over, and programs wait a moment."""

from __future__ import annotations

import json
import mmap
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import DEAD, Mount, tierfs, tierfs_here
from tests.support.proc import ProgramFailed, run, running, wait_until
from tierfs.common.errors import NotMounted
from tierfs.daemon.control_client import ask

pytestmark = [pytest.mark.once, pytest.mark.long]  # only the router can be taken over


@pytest.fixture
def supervised(make_mount: MakeMount) -> Mount:
    mount = make_mount.formatted()
    mount.mount("supervise")
    return mount


def supervisor_of(mount: Mount) -> int:
    pid = mount.status()["supervisor"]["pid"]
    assert isinstance(pid, int)
    return pid


def kill(mount: Mount) -> None:
    """Kill the daemon, and return when another one serves."""
    before = mount.pid
    os.kill(before, signal.SIGKILL)
    assert os.statvfs(mount.path)  # answered by the next one
    mount.pid = int(mount.status()["pid"])
    assert mount.pid != before


def test_open_files_and_directories_survive(supervised: Mount) -> None:
    root = supervised.path
    (root / "d").mkdir()
    with open(root / "d" / "f", "w+b", buffering=0) as file:
        file.write(bytes(100_000))
        with mmap.mmap(file.fileno(), 0) as mapped:
            here = os.open(root / "d", os.O_PATH)
            kill(supervised)
            mapped[5:10] = b"shown"
            mapped.flush()
            assert os.pread(file.fileno(), 5, 5) == b"shown"
            file.seek(0, os.SEEK_END)
            file.write(b"more")
            assert os.listdir(f"/proc/self/fd/{here}") == ["f"]
            os.close(here)
    kill(supervised)
    assert (root / "d" / "f").read_bytes() == bytes(5) + b"shown" + bytes(99_990) + b"more"
    assert supervised.status()["supervisor"]["restarts"] == 2


def test_sizes_that_only_memory_knew_are_right(supervised: Mount) -> None:
    files = [supervised.path / str(number) for number in range(300)]
    for number, path in enumerate(files):
        path.write_bytes(b"x" * number)
    with files[7].open("ab") as late:
        late.write(b"late")
    kill(supervised)
    assert [path.stat().st_size for path in files] == [n + 4 * (n == 7) for n in range(300)]
    assert [len(path.read_bytes()) for path in files] == [n + 4 * (n == 7) for n in range(300)]


def test_unlinked_files_live_as_long_as_they_are_open(supervised: Mount) -> None:
    before, after = supervised.path / "before", supervised.path / "after"
    with before.open("w+b") as first, after.open("w+b") as second:
        for file in (first, second):
            file.write(bytes(70_000) + b"end")
            file.flush()
        before.unlink()
        kill(supervised)
        after.unlink()
        time.sleep(6)  # a reclaim comes every five seconds
        for file in (first, second):
            assert os.pread(file.fileno(), 10, 70_000) == b"end"
        numbers = [os.fstat(file.fileno()).st_ino for file in (first, second)]
    wait_until(
        lambda: not any(supervised.flash_object(ino).exists() for ino in numbers),
        what="the files are freed once nobody has them open",
        timeout=20,
    )


def test_a_file_that_never_had_a_name_can_get_one(supervised: Mount) -> None:
    nameless = os.open(supervised.path, os.O_TMPFILE | os.O_RDWR)
    try:
        os.write(nameless, b"content")
        kill(supervised)
        os.link(f"/proc/self/fd/{nameless}", supervised.path / "named", src_dir_fd=nameless)
    finally:
        os.close(nameless)
    assert (supervised.path / "named").read_bytes() == b"content"


PF_FORKNOEXEC = 0x40
"""Of include/linux/sched.h: a copy of its parent, which runs no other program since."""


def test_every_standby_but_the_first_is_a_copy(supervised: Mount) -> None:
    """So there is one even for a daemon that has just begun to serve."""
    for _ in range(4):
        kill(supervised)
    found = supervised.status()["supervisor"]
    assert (found["restarts"], found["last_reason"].endswith("was killed by SIGKILL")) == (4, True)
    fields = Path(f"/proc/{supervised.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) == supervisor_of(supervised)
    assert int(fields[6]) & PF_FORKNOEXEC


def test_orphans_of_a_daemon_are_reaped() -> None:
    """And how one's own children ended stays known."""
    code = """
import os, subprocess, sys
from tierfs.daemon.supervisor import adopt_orphans, reap
adopt_orphans()
own = subprocess.Popen(["sh", "-c", "sleep 0.1 & echo $!; exit 3"], stdout=subprocess.PIPE)
orphan = int(own.stdout.readline())
while os.path.exists(f"/proc/{orphan}"):
    reap([own])
print(own.poll())
"""
    assert run([sys.executable, "-c", code]).stdout == "3\n"


def test_an_unmount_ends_all_processes(supervised: Mount) -> None:
    parent = supervisor_of(supervised)
    kill(supervised)
    supervised.unmount()
    assert tierfs("fsck", supervised.volume_file)
    wait_until(lambda: not running(parent), what="the supervisor ends")
    supervised.mount("supervise")


def test_signals_reach_the_daemon(supervised: Mount) -> None:
    parent = supervisor_of(supervised)
    kill(supervised)
    os.kill(parent, signal.SIGTERM)
    wait_until(lambda: not supervised.is_mounted(), what="SIGTERM unmounts")
    wait_until(lambda: not running(parent), what="the supervisor ends")


def test_daemons_that_die_at_once_end_in_a_dead_mount(supervised: Mount) -> None:
    parent = supervisor_of(supervised)
    supervised.log.allow("the index is missing")
    # Nothing can be opened in place of the index: each daemon that tries fails.
    index = supervised.flash / "index.db"
    index.rename(supervised.flash / "away")
    os.kill(supervised.pid, signal.SIGKILL)
    with pytest.raises(OSError, match="mnt") as refused:
        os.statvfs(supervised.path)
    assert refused.value.errno in DEAD
    wait_until(lambda: not running(parent), what="the supervisor gives up")
    with pytest.raises(ProgramFailed, match=r"given up after .* the index is missing"):
        tierfs_here("status", supervised.path)
    (supervised.flash / "away").rename(index)
    supervised.mount()


def test_the_mount_goes_on_without_its_supervisor(supervised: Mount) -> None:
    os.kill(supervisor_of(supervised), signal.SIGKILL)
    (supervised.path / "f").write_bytes(b"written")
    wait_until(
        lambda: not supervised.status()["supervisor"]["takes_over"],
        what="the daemon notices that nobody would take over",
    )
    supervised.unmount()
    supervised.mount()
    assert (supervised.path / "f").read_bytes() == b"written"


def test_without_the_router_nobody_takes_over(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    mount.mount("supervise", "no_fastpath")
    assert not mount.status()["supervisor"]["takes_over"]
    mount.kill()
    with pytest.raises(OSError, match="mnt") as refused:
        (mount.path / "f").touch()
    assert refused.value.errno in DEAD


def test_what_is_wrong_in_the_files_by_then_ends_no_mount(supervised: Mount) -> None:
    policy = supervised.volume_file.with_name("policy.yaml")
    policy.write_text("version: 1\n")
    supervised.configure("policy", os.fspath(policy))
    tierfs("upgrade", supervised.path)
    supervised.pid = supervised.status()["pid"]
    (supervised.path / "f").write_bytes(b"content")
    policy.write_text("no_such_key: 1\n")
    supervised.log.allow("no_such_key")
    wait_until(lambda: bool(supervised.status()["policy"]["problems"]), what="it is noticed")
    assert "correct" in tierfs("upgrade", supervised.path, statuses=[6])
    supervised.configure("flash", os.fspath(supervised.volume_file.with_name("elsewhere")))
    kill(supervised)
    assert supervised.status()["policy"] is None
    assert (supervised.path / "f").read_bytes() == b"content"
    supervised.configure("flash", os.fspath(supervised.flash))


def test_metrics_count_takeovers_over_all_daemons(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    listen(mount)
    mount.mount("supervise")
    found = scrape(mount)
    assert found['tierfs_takeovers_total{cause="killed"}'] == 0
    assert found['tierfs_takeovers_total{cause="upgrade"}'] == 0
    assert found["tierfs_takeover_seconds"] == 0
    kill(mount)
    tierfs("upgrade", mount.path)
    mount.pid = mount.status()["pid"]
    kill(mount)
    found = scrape(mount)
    assert found['tierfs_takeovers_total{cause="killed"}'] == 2
    assert found['tierfs_takeovers_total{cause="upgrade"}'] == 1
    assert 0 < found["tierfs_takeover_seconds"] < 60
    assert "tierfs_resent_requests_total" in found


# ------------------------------------------------------------------ upgrades


def test_an_upgrade_replaces_the_daemon(supervised: Mount) -> None:
    with (supervised.path / "f").open("w+b", buffering=0) as file:
        file.write(b"before")
        done = json.loads(tierfs("upgrade", supervised.path, "--json"))
        assert (done["from_pid"], done["to_pid"]) == (supervised.pid, supervised.status()["pid"])
        assert os.pread(file.fileno(), 6, 0) == b"before"
    supervised.pid = done["to_pid"]
    assert "in place of process" in tierfs("upgrade", supervised.volume_file)
    supervised.pid = supervised.status()["pid"]
    shown = tierfs_here("status", supervised.path)
    assert re.search("supervisor +process .* took over 2 times, last .*: upgrade", shown)


def test_an_upgrade_that_cannot_start_changes_nothing(supervised: Mount) -> None:
    good = supervised.volume_file.read_text()
    supervised.volume_file.write_text(good + "no_such_key: 1\n")
    refused = tierfs("upgrade", supervised.path, statuses=[6])
    assert re.search("does not start.*no_such_key", refused, re.DOTALL)
    assert supervised.status()["pid"] == supervised.pid
    supervised.volume_file.write_text(good)
    tierfs("upgrade", supervised.path)
    supervised.pid = supervised.status()["pid"]


FAILING = """
import sys
from tierfs.daemon import session
from tierfs.common.errors import FsError
def fails(*_, **__):
    raise FsError(5, "a fault of the new version")
session.open_volume = fails
from tierfs.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_upgrade_that_cannot_take_over_is_taken_back(supervised: Mount) -> None:
    with pytest.raises(NotMounted):
        ask(supervised.path, "upgrade", command=[sys.executable, "-c", FAILING])
    os.statvfs(supervised.path)
    supervisor = supervised.status()["supervisor"]
    assert supervisor["restarts"] == 2
    assert "the upgrade failed" in supervisor["last_reason"]
    assert "a fault of the new version" in supervisor["last_reason"]
    supervised.pid = supervised.status()["pid"]
    kill(supervised)  # by the daemon that was there before


def test_without_a_supervisor_there_is_no_upgrade(make_mount: MakeMount) -> None:
    mount = make_mount()
    assert "option 'supervise'" in tierfs("upgrade", mount.path, statuses=[6])
