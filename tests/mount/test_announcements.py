"""Files that a job announces are read ahead; what a job says harms nobody."""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.fuzz.mutator import mutations
from tests.parity.calls import as_user
from tests.prewarm.undisturbed import undisturbed
from tests.support.exporter import listen, scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import DEAD, Mount, tierfs_here
from tests.support.proc import kill_process, run, thread_names, wait_until
from tierfs.announcements import service
from tierfs.announcements.peer import Peer, acting_as
from tierfs.announcements.protocol import AHEAD
from tierfs.common.metrics import Metrics
from tierfs.prewarm.caches import cached
from tierfs.training import AnnouncedSampler, announce, connection
from tierfs.training.connection import Connection
from tierfs.training.order import SOCKETS

FILES = 60
SIZE = 200 * 1024
DIRECTORIES = 3
EVE = 11004

pytestmark = [
    pytest.mark.long,
    pytest.mark.once,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root's daemon copies its mount"),
]


@pytest.fixture
def cold(make_mount: MakeMount) -> Mount:
    """A mount with files of which the kernel knows nothing."""
    mount = make_mount.formatted()
    mount.configure("training", "{memory: 64MiB}")
    listen(mount)
    mount.mount("allow_other")
    chance = random.Random(1)
    for number in range(FILES):
        path = mount.path / f"{number % DIRECTORIES}" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(SIZE))
    chill(mount)
    return mount


def chill(mount: Mount) -> None:
    mount.remount("allow_other")
    wait_until(socket_of(mount).exists, what="announcements are taken")


def socket_of(mount: Mount) -> Path:
    device = mount.path.stat().st_dev
    return SOCKETS / f"training-{os.major(device)}:{os.minor(device)}.sock"


def shuffled(mount: Mount) -> list[str]:
    numbers = random.Random(0).sample(range(FILES), FILES)
    return [f"{mount.path}/{number % DIRECTORIES}/{number}" for number in numbers]


def shown(mount: Mount) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tierfs_here("training", "status", mount.path, "--json"))
    return found


def ranks(mount: Mount) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shown(mount)["ranks"]
    return found


@contextlib.contextmanager
def told(paths: Sequence[str]) -> Iterator[Connection]:
    """An announcement of these files, none of which is reached."""
    telling = Connection(paths[0], "test", 0, SOCKETS)
    with contextlib.closing(telling):
        telling.tell(paths, last=True)
        yield telling


def requests(mount: Mount) -> dict[str, float]:
    """Lookups and reads that the mount has answered."""
    page = scrape(mount)
    return {
        kind: sum(
            value
            for name, value in page.items()
            if name.startswith(f'tierfs_requests_total{{operation="{kind}"')
        )
        for kind in ("lookup", "read")
    }


def test_announced_files_are_read_from_memory(cold: Mount) -> None:
    paths = shuffled(cold)

    def epoch() -> dict[str, float]:
        with told(paths):
            wait_until(lambda: ranks(cold)[0]["read_ahead"] == FILES, what="all is read ahead")
            before = requests(cold)
            for path in paths:
                assert len(Path(path).read_bytes()) == SIZE
            after = requests(cold)
        return {kind: after[kind] - before[kind] for kind in before}

    asked = undisturbed(epoch, lambda: chill(cold))
    assert asked["read"] == 0
    # The prefetch of names makes the kernel look a directory up again that it listed.
    assert asked["lookup"] <= DIRECTORIES


def test_what_was_read_ahead_and_used_is_not_kept_before_what_is_to_come(cold: Mount) -> None:
    """Reading ahead counts as no use of a page: the kernel would keep one that is used twice."""
    paths = shuffled(cold)

    def epoch() -> int:
        with told(paths):
            wait_until(lambda: ranks(cold)[0]["read_ahead"] == FILES, what="all is read ahead")
            for path in paths:
                assert len(Path(path).read_bytes()) == SIZE
            return sum(active_pages(path) for path in paths)

    used_twice = undisturbed(epoch, lambda: chill(cold))
    assert used_twice < FILES * SIZE // mmap.PAGESIZE // 4


def active_pages(path: str) -> int:
    """Pages of a file that the kernel has found in use (pagemap.rst, KPF_ACTIVE)."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        pages = len(range(0, len(mapped), mmap.PAGESIZE))
        start = address_of(mapped) // mmap.PAGESIZE
        assert sum(mapped[:: mmap.PAGESIZE]) >= 0  # maps them
        numbers = struct.unpack(f"{pages}Q", words_of("/proc/self/pagemap", start, pages))
        # Before the mapping ends: what a program has touched through it counts as used then.
        flags = [words_of("/proc/kpageflags", number & (1 << 55) - 1, 1) for number in numbers]
    return sum(struct.unpack("Q", one)[0] >> 6 & 1 for one in flags)


def address_of(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def words_of(path: str, number: int, count: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return os.pread(file.fileno(), 8 * count, 8 * number)


def test_an_epoch_of_several_ranks(cold: Mount) -> None:
    """Every file comes when it is there, and the counts say so."""
    paths = shuffled(cold)
    going = [announce(paths[rank::2], job="two", rank=rank) for rank in range(2)]
    read = [Path(next(going[turn % 2])).read_bytes() for turn in range(FILES)]
    assert {(rank["job"], rank["rank"]) for rank in ranks(cold)} == {("two", 0), ("two", 1)}
    assert "two" in tierfs_here("training", "status", cold.path)
    for one in going:
        assert list(one) == []
    assert sorted(read) == sorted(Path(path).read_bytes() for path in paths)
    wait_until(lambda: ranks(cold) == [], what="the announcements end")
    page = scrape(cold)
    assert page['tierfs_announced_files_total{result="ready"}'] >= FILES - 2
    assert page["tierfs_announced_bytes_total"] == FILES * SIZE
    assert page["tierfs_announcements"] == 0


def test_a_job_hears_at_once_of_files_that_cannot_be_read(
    cold: Mount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they were looked up, and not with the next tick."""
    monkeypatch.setattr(service, "TICK_S", 3600.0)
    uncounted = Mock(spec=service.FirstReads)
    announcements = service.Announcements(cold.path, tmp_path, None, 0, Metrics(), uncounted)
    serving = threading.Thread(target=announcements.run)
    serving.start()
    try:
        socket_here = tmp_path / socket_of(cold).name
        wait_until(socket_here.exists, what="announcements are taken")
        with greeted(cold, cold.path, at=socket_here) as talking, talking.makefile("rb") as answers:
            assert "ahead" in json.loads(answers.readline())
            talking.sendall(b'{"paths": ["missing"], "last": true}\n')
            assert json.loads(answers.readline()) == {"ready": 1}
    finally:
        announcements.close()
        serving.join()
        os.close(announcements._wake)


def test_an_epoch_is_longer_than_what_may_be_announced_at_once(cold: Mount) -> None:
    """One announcement lasts to its end: the job tells more as soon as it has reached some."""
    missing = [f"{cold.path}/missing/{number}" for number in range(3 * AHEAD)]
    paths = [f"{cold.path}/0/0", *missing]
    assert list(announce(paths)) == paths
    wait_until(lambda: ranks(cold) == [], what="the announcement ends")
    page = scrape(cold)
    assert page['tierfs_announced_files_total{result="failed"}'] == len(missing)


def test_a_sampler(cold: Mount) -> None:
    paths = shuffled(cold)
    order = random.Random(3).sample(range(FILES), FILES)
    announced = AnnouncedSampler(order, paths, job="sampler")
    for _ in range(2):
        assert [Path(paths[index]).stat().st_size for index in announced] == [SIZE] * FILES


def test_what_is_written_after_it_was_read_ahead_is_read(cold: Mount) -> None:
    paths = shuffled(cold)
    with told(paths):
        wait_until(lambda: ranks(cold)[0]["read_ahead"] == FILES, what="all is read ahead")
        with Path(paths[0]).open("r+b") as file:
            file.write(b"changed")
        os.truncate(paths[1], 100)
        assert Path(paths[0]).read_bytes().startswith(b"changed")
        assert len(Path(paths[1]).read_bytes()) == 100


def test_links_within_the_mount_are_followed(cold: Mount) -> None:
    (cold.path / "link").symlink_to("0/0")
    (cold.path / "away").symlink_to("/etc/passwd")
    paths = [f"{cold.path}/link", f"{cold.path}/away", f"{cold.path}/missing", f"{cold.path}/0"]
    with told(paths) as telling:
        wait_until(lambda: ranks(cold)[0]["read_ahead"] == 4, what="all is looked up")
        assert ranks(cold)[0]["read_bytes"] == SIZE
        for _ in paths:
            telling.reached()
        telling._say()
        wait_until(lambda: ranks(cold)[0]["failed"] == 3, what="three could not be read")


JOB = """
import sys, time
from tierfs.training import announce
for path in announce(sys.argv[1:], job="killed"):
    print(path, flush=True)
    time.sleep(0.5 if path == sys.argv[1] else 100)
"""

WITH_A_CHILD = """
import os, subprocess, sys
from tierfs.training.connection import Connection
from tierfs.training.order import SOCKETS
from pathlib import Path
telling = Connection(sys.argv[1], "killed", 0, SOCKETS)
telling.tell(sys.argv[1:])
number = telling._socket.fileno()
os.set_inheritable(number, True)
child = subprocess.Popen(["sleep", "100"], close_fds=False)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("program", [JOB, WITH_A_CHILD], ids=["alone", "with a child"])
def test_a_killed_job_is_served_no_longer(cold: Mount, program: str) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", program, *shuffled(cold)], stdout=subprocess.PIPE, text=True
    )
    assert job.stdout is not None
    said = job.stdout.readline().strip()
    wait_until(lambda: [one["job"] for one in ranks(cold)] == ["killed"], what="it is served")
    job.kill()
    try:
        wait_until(lambda: ranks(cold) == [], what="the announcement ends", timeout=5)
    finally:
        if said.isdecimal():
            kill_process(int(said))
        job.wait()
        job.stdout.close()


def test_the_threads_and_the_copy_of_the_mount_end_with_the_last_job(cold: Mount) -> None:
    with told(shuffled(cold)):
        wait_until(lambda: ranks(cold)[0]["read_ahead"] == FILES, what="all is read ahead")
        assert "tierfs-ahead" in thread_names(cold.pid) or sys.version_info < (3, 14)
    wait_until(
        lambda: (
            not any(
                target == "/" or target.startswith(f"{cold.path}")
                for files in files_of_threads(cold.pid)
                for target in files
            )
        ),
        what="no descriptor of our own mount is open",
    )


def files_of_threads(pid: int) -> list[list[str]]:
    """What each thread has open."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append([os.readlink(each) for each in (thread / "fd").iterdir()])
    return found


def test_whoever_reads_ahead_does_not_keep_the_device_open(cold: Mount) -> None:
    """If the daemon is killed, such a thread waits for a reply, and the mount hangs with it."""

    def has_both(files: list[str]) -> bool:
        inside = any(one == "/" or one.startswith(f"{cold.path}") for one in files)
        return inside and "/dev/fuse" in files

    seen = 0
    with told(shuffled(cold)):
        while ranks(cold)[0]["read_ahead"] < FILES:
            threads = files_of_threads(cold.pid)
            assert not any(map(has_both, threads))
            seen += sum("/dev/fuse" not in files for files in threads)
    assert seen


def test_the_mount_of_a_daemon_that_is_killed_while_it_reads_ahead_ends(cold: Mount) -> None:
    with told(shuffled(cold)):
        wait_until(lambda: ranks(cold)[0]["read_ahead"] > 0, what="it reads ahead")
        cold.kill()
        with pytest.raises(OSError, match="mnt") as refused:
            os.statvfs(cold.path)
        assert refused.value.errno in DEAD


def test_the_mount_can_be_unmounted_while_a_job_announces(cold: Mount) -> None:
    with told(shuffled(cold)):
        run(["umount", cold.path])
        cold.wait_for_daemon()


@pytest.mark.parametrize("_turn", range(3))
def test_the_next_daemon_is_told_what_is_left(
    cold: Mount, monkeypatch: pytest.MonkeyPatch, _turn: int
) -> None:
    monkeypatch.setattr(connection, "AGAIN_S", 0.0)
    cold.unmount()
    cold.mount("allow_other", "supervise")
    wait_until(socket_of(cold).exists, what="announcements are taken")
    paths = shuffled(cold)
    going = announce(paths, job="lasting")
    assert next(going) == paths[0]
    os.kill(cold.pid, signal.SIGKILL)
    assert os.statvfs(cold.path)  # answered by the next one
    cold.pid = int(cold.status()["pid"])
    rest = list(islice(going, 1))

    def goes_on() -> bool:
        rest.extend(islice(going, 1))
        return bool(ranks(cold))

    wait_until(goes_on, what="it is announced again")
    assert [*paths[:1], *rest, *going] == paths


def test_the_setting_turns_it_off(cold: Mount) -> None:
    cold.unmount()
    cold.configure("training", '{memory: "off"}')
    cold.mount()
    paths = shuffled(cold)
    assert list(announce(paths)) == paths
    assert not socket_of(cold).exists()
    assert shown(cold) == {"memory": 0, "dropped": 0, "ranks": []}


# ------------------------------------------------------------------ hostile jobs


def greeted(
    mount: Mount,
    directory: Path,
    greeting: bytes = b'{"tierfs": 1}\n',
    *,
    at: Path | None = None,
) -> socket.socket:
    """A connection after its greeting, with ``directory`` as what its paths are below."""
    talking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    talking.settimeout(20)
    talking.connect(os.fspath(at or socket_of(mount)))
    descriptor = os.open(directory, os.O_PATH)
    try:
        socket.send_fds(talking, [greeting], [descriptor])
    finally:
        os.close(descriptor)
    return talking


def test_a_user_cannot_have_read_what_the_user_may_not_read(cold: Mount) -> None:
    """Not by a path either, nor by a directory that the user may not search."""
    secret, hidden = Path(shuffled(cold)[0]), cold.path / "hidden"
    secret.chmod(0o600)
    hidden.mkdir(0o700)
    (hidden / "file").write_bytes(b"x" * SIZE)
    (cold.path / "link").symlink_to("hidden/file")
    relative = os.path.relpath(secret, cold.path)
    names = [relative, "hidden/file", "link", f"hidden/../{relative}", "../etc/passwd"]

    def announces() -> str:
        with greeted(cold, cold.path) as talking:
            talking.sendall(json.dumps({"paths": [*names, "1/1"], "last": True}).encode() + b"\n")
            with talking.makefile("rb") as answers:
                answers.readline()
                while json.loads(answers.readline())["ready"] < len(names) + 1:
                    pass
        return "all is looked up"

    chill(cold)
    assert as_user(EVE, EVE, (), announces) == "all is looked up"
    page = scrape(cold)
    assert page["tierfs_announced_bytes_total"] == SIZE
    for path in (secret, hidden / "file"):
        descriptor = os.open(path, os.O_RDONLY)
        assert cached(descriptor, 0, SIZE).warm == 0
        os.close(descriptor)


def test_a_group_of_the_job_counts(cold: Mount) -> None:
    path = Path(shuffled(cold)[0])
    path.chmod(0o040)
    os.chown(path, 0, 4711)
    name = os.path.relpath(path, cold.path)

    def announces() -> str:
        with greeted(cold, cold.path) as talking:
            talking.sendall(json.dumps({"paths": [name], "last": True}).encode() + b"\n")
            with talking.makefile("rb") as answers:
                answers.readline()
                answers.readline()
        return "done"

    as_user(EVE, EVE, (4711,), announces)
    assert scrape(cold)["tierfs_announced_bytes_total"] == SIZE


def test_a_directory_of_another_filesystem_is_refused(cold: Mount) -> None:
    with greeted(cold, cold.flash) as talking, talking.makefile("rb") as answers:
        assert "error" in json.loads(answers.readline())
        assert answers.readline() == b""


def test_any_bytes(cold: Mount) -> None:
    corpus = [b'{"paths": ["1/1", null], "position": 0, "waited": 0.5}\n{"position": 1}\n']
    for said in mutations(corpus):
        with greeted(cold, cold.path) as talking, contextlib.suppress(ConnectionError):
            talking.sendall(said)
            talking.shutdown(socket.SHUT_WR)
            for line in talking.makefile("rb"):
                assert json.loads(line).keys() <= {"error", "ahead", "characters", "ready"}
    for greeting in mutations([b'{"tierfs": 1, "job": "a", "rank": 0}\n']):
        talking = greeted(cold, cold.path, greeting or b"\n")
        with talking, contextlib.suppress(ConnectionError):
            talking.shutdown(socket.SHUT_WR)
            talking.recv(1000)
    wait_until(lambda: ranks(cold) == [], what="no announcement is left")
    cold.log.check()


def memory_of(pid: int) -> int:
    """Bytes."""
    said = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", said)
    assert found is not None
    return int(found[1]) * 1024


def test_a_million_paths_cost_no_memory(cold: Mount) -> None:
    line = json.dumps({"paths": [f"no/such/{number}" for number in range(1000)]}).encode() + b"\n"
    before = memory_of(cold.pid)
    with greeted(cold, cold.path) as talking, contextlib.suppress(ConnectionError):
        for _ in range(1000):
            talking.sendall(line)
    endless = b"x" * (1024 * 1024)
    with greeted(cold, cold.path) as talking, contextlib.suppress(ConnectionError):
        for _ in range(100):
            talking.sendall(endless)
    assert memory_of(cold.pid) - before < 32 * 1024 * 1024
    wait_until(lambda: ranks(cold) == [], what="no announcement is left")


def test_a_user_may_have_so_many_connections(cold: Mount) -> None:
    def connects() -> int:
        with contextlib.ExitStack() as stack:
            taken = 0
            for _ in range(40):
                with contextlib.suppress(ConnectionError):
                    talking = stack.enter_context(greeted(cold, cold.path))
                    taken += b"ahead" in talking.recv(1000)
            return taken

    assert as_user(EVE, EVE, (), connects) == 32
    paths = shuffled(cold)
    with told(paths) as telling:
        assert telling.ahead > 0


def test_the_thread_alone_acts_as_a_user(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    with acting_as(Peer(0, EVE, EVE, (EVE, 77))), pytest.raises(PermissionError):
        secret.open()
    assert secret.read_text() == "root's"
