"""What a backup costs a writer beside it, its memory, and how long a restore takes.

``python -m tests.benchmarks.backing_up --inodes 10000000 DIRECTORY`` makes a volume of 10,000,000
empty files (rows made by SQL, no objects), mounts it, and has one process create files: in turns,
alone and beside a backup. Then the index is removed and restored. ``DIRECTORY`` must be empty;
flash and disk are in it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until
from tests.tiering.many_inodes import fill_index

WORKER: Final = b"tierfs.daemon.worker"
DAY_S: Final = 86_400
LOOK_S: Final = 0.5
"""How often the worker is looked at: the writer, in this process, waits meanwhile."""
P99: Final = 99
PER_DIRECTORY: Final = 1000

_EMPTY: Final = """
UPDATE inode SET size = 0, prefix = 65536, mirrored = 0, version = 0 WHERE mode & 0xF000 = 0x8000;
INSERT INTO xattr SELECT ino, CAST('user.label' AS BLOB), CAST(ino AS BLOB) FROM inode
WHERE ino >= 1000 AND ino % 10 = 0;
DELETE FROM usage;
UPDATE volume SET next_serial = dirty_from;
"""


@dataclass(slots=True)
class Found:
    """Times in milliseconds where nothing else is said."""

    inodes: int
    idle_p99: list[float] = field(default_factory=list)
    beside_p99: list[float] = field(default_factory=list)
    idle_created: list[int] = field(default_factory=list)
    beside_created: list[int] = field(default_factory=list)
    backup_s: list[float] = field(default_factory=list)
    worker_memory: int = 0
    """Bytes that the process of the backup had in memory at most (VmHWM), with mapped pages."""
    worker_anonymous: int = 0
    """Those of its own, not of the mapped index (RssAnon)."""
    memory_setting: int = 0
    index_bytes: int = 0
    backup_bytes: int = 0
    log_bytes: int = 0
    """Of the log of the index at most, while a backup was made."""
    restore_s: float = 0
    restore_processor_s: float = 0

    @property
    def ratio(self) -> float:
        """Median of the p99 beside a backup to that without."""
        return statistics.median(self.beside_p99) / statistics.median(self.idle_p99)


class Writer:
    """Creates empty files, one after the other, or one every ``every`` seconds."""

    def __init__(self, root: Path, every: float = 0) -> None:
        self._root = root
        self._every = every
        self._number = 0

    def work(self, until: Callable[[], bool]) -> list[float]:
        """Milliseconds that each create and close took."""
        took: list[float] = []
        due = time.perf_counter()
        while not until():
            if self._every:
                due = max(due + self._every, time.perf_counter())  # what was missed is not made up
                time.sleep(max(0.0, due - time.perf_counter()))
            if self._number % PER_DIRECTORY == 0:
                (self._root / f"{self._number // PER_DIRECTORY}").mkdir(parents=True)
            path = f"{self._root}/{self._number // PER_DIRECTORY}/{self._number}"
            self._number += 1
            began = time.perf_counter()
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            took.append((time.perf_counter() - began) * 1000)
        return took


class Watcher(threading.Thread):
    """Looks at the worker process and the log of the index now and then."""

    def __init__(self, mount: Mount, found: Found) -> None:
        super().__init__(daemon=True)
        self._mount, self._found = mount, found
        self.done = threading.Event()

    def run(self) -> None:
        """Until it is done."""
        log = self._mount.flash / "index.db-wal"
        while not self.done.wait(LOOK_S):
            most, own = _memory(self._mount.pid)
            self._found.worker_memory = max(self._found.worker_memory, most)
            self._found.worker_anonymous = max(self._found.worker_anonymous, own)
            with suppress(FileNotFoundError):
                self._found.log_bytes = max(self._found.log_bytes, log.stat().st_size)


def workers_of(daemon: int) -> list[int]:
    """The processes of a daemon that do its long work."""
    found: list[int] = []
    for children in Path(f"/proc/{daemon}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in children.read_text(encoding="ascii").split()]
    workers = []
    for pid in found:
        with suppress(OSError):
            if WORKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
    return workers


def _memory(daemon: int) -> tuple[int, int]:
    """VmHWM and RssAnon of the daemon's worker, in bytes; 0: there is none."""
    most = own = 0
    for pid in workers_of(daemon):
        with suppress(OSError, IndexError):
            text = Path(f"/proc/{pid}/status").read_text()
            most = max(most, int(text.partition("VmHWM:")[2].split()[0]) * 1024)
            own = max(own, int(text.partition("RssAnon:")[2].split()[0]) * 1024)
    return most, own


def fill(mount: Mount, inodes: int) -> None:
    """Add ``inodes`` empty files to the index."""
    index = mount.flash / "index.db"
    fill_index(index, inodes, time.time_ns())
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_EMPTY)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def p99(took: list[float]) -> float:
    """Of many milliseconds."""
    return statistics.quantiles(took, n=100)[P99 - 1]


def measure(mount: Mount, found: Found, turns: int, seconds: float, every: float) -> None:
    """One writer, alone and beside a backup, in turns."""
    writer = Writer(mount.path / "written", every)
    watcher = Watcher(mount, found)
    watcher.start()
    writer.work(_for(seconds / 3))  # nothing is measured while caches fill
    for _ in range(turns):
        took = writer.work(_for(seconds))
        found.idle_p99.append(p99(took))
        found.idle_created.append(len(took))
        began = time.monotonic()
        command = [sys.executable, "-m", "tierfs", "backup", "--json", str(mount.volume_file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as backup:
            took = writer.work(lambda: backup.poll() is not None)
            assert backup.stdout is not None
            record = json.loads(backup.stdout.read())
        found.backup_s.append(time.monotonic() - began)
        found.beside_p99.append(p99(took))
        found.beside_created.append(len(took))
        found.index_bytes, found.backup_bytes = record["index_bytes"], record["backup_bytes"]
    watcher.done.set()
    watcher.join()


def _for(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def measure_restore(mount: Mount, found: Found) -> None:
    """The index is gone; it comes back from the last backup and the changes since."""
    for each in mount.flash.glob("index.db*"):
        each.unlink()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    tierfs("restore", mount.volume_file, timeout=DAY_S)
    found.restore_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found.restore_processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Do all of it, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--inodes", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30, help="of each turn without a backup")
    parser.add_argument(
        "--every", type=float, default=2, help="ms from a create to the next; 0: none"
    )
    parser.add_argument("--memory", type=int, default=64, help="MiB for pages (backup.memory)")
    given = parser.parse_args()
    found = Found(given.inodes, memory_setting=given.memory << 20)
    mount = Mount(given.directory.absolute())
    with mount.volume_file.open("a") as file:
        file.write(f"backup: {{interval: 1d, memory: {given.memory}MiB}}\n")
    fill(mount, given.inodes)
    mount.mount()
    try:
        directory = mount.disk / "backup"
        wait_until(
            lambda: any(directory.glob("index-*")), what="the first backup is made", timeout=DAY_S
        )
        measure(mount, found, given.turns, given.seconds, given.every / 1000)
        mount.unmount()
        measure_restore(mount, found)
    finally:
        mount.abort()
    print(json.dumps({**asdict(found), "ratio": found.ratio}, indent=2))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
