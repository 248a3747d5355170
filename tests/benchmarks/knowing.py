"""How long it takes to find, tag, list and link files, its memory, and what it costs a writer.

``python -m tests.benchmarks.knowing DIRECTORY --inodes 10000000`` makes a volume of 10,000,000
files with tags and header facts (rows made by SQL, no objects) in a new directory in ``DIRECTORY``,
mounts it, and asks `tierfs find` by indexes and without; then one process creates a file every
2 ms, in turns alone, beside each find that reads all rows, and beside a Python that ends at once
and is started as often. On a second volume, of ``--files`` files, it imports tags, writes a
manifest, and makes a view of real images, which it reads.

All is removed at the end, also after Ctrl-C. The machine has to be idle.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.benchmarks.backing_up import Writer, p99, workers_of
from tests.benchmarks.processes import processor_seconds
from tests.benchmarks.stage import Stage, stage
from tests.support.mounting import Mount
from tests.tiering.many_inodes import FIRST, IN_DIRECTORY, fill_index
from tierfs.common.units import KIB, MIB

PARTS: Final = ("find", "tags", "manifest", "view")
EVERY_S: Final = 0.002
VALUES: Final = 1000
"""Different tags, and different facts."""
EVERY: Final = 10
"""Each tenth file has a fact, and on the volume that is searched a tag."""
LOOK_S: Final = 0.01
SAMPLE: Final = 1000
SIDE: Final = 18
"""Pixels: a PNG of noise has 1 KiB then."""

_TAG: Final = """
INSERT INTO xattr SELECT ino, CAST('user.label' AS BLOB),
CAST('label-' || (ino / :every % :values) AS BLOB)
FROM inode WHERE ino >= :first AND ino < :end AND ino % :every = 0
"""
_FACT: Final = """
INSERT INTO fact SELECT ino, 'image.width', 1 + ino / :every % :values
FROM inode WHERE ino >= :first AND ino < :end AND ino % :every = 0
"""
_LOOKED_AT: Final = """
INSERT INTO fact_state SELECT ino, version, 'image', 1, NULL, 1
FROM inode WHERE ino >= :first AND ino < :end AND ino % :every = 0
"""
_SERIALS: Final = "UPDATE volume SET next_serial = dirty_from"


class Question(NamedTuple):
    """A call of `tierfs find`."""

    what: str
    expression: str
    options: tuple[str, ...] = ("--count",)


STARTS_ONLY: Final = (sys.executable, "-c", "pass")
"""What to compare a short find with: to start and end any process delays others."""
TAG: Final = "user.label = label-7"
FACT: Final = "image.width = 8"
SEVERAL: Final = (
    "size > 50kB and name = *[05]0 and image.width > 500 and tier = split and not pinned"
)
INDEXED: Final = (
    Question("tag, count", TAG),
    Question("tag, paths", TAG, ("-0",)),
    Question("tag and size, table", f"{TAG} and size > 2kB", ("--columns", "path,size,user.label")),
    Question("fact, count", FACT),
    Question("fact, paths", FACT, ("-0",)),
)
SLOW: Final = (
    Question("size, count", "size > 90kB"),
    Question("name, count", "name = *77"),
    Question("fact, count", "image.width >= 900"),
    Question("tier, count", "tier = flash"),
    Question("tag by pattern, count", "user.label = label-9*"),
    Question("several, count", SEVERAL),
    Question(
        "several, 1,000 rows",
        SEVERAL,
        ("--limit", "1000", "--columns", "path,size,image.width,user.label"),
    ),
    Question("several, sorted", SEVERAL, ("--sort", "-image.width", "--limit", "100")),
    Question(
        "all, sorted by size",
        "type = file",
        ("--sort", "-size", "--limit", "100", "--columns", "size,path"),
    ),
    Question("all, grouped by tier", "type = file", ("--group-by", "tier")),
    Question("tagged, grouped by tag", "user.label is set", ("--group-by", "user.label")),
)


class Report:
    """Prints each figure, and keeps them all."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, Any]] = {}

    def add(
        self, what: str, unit: str, values: Sequence[float], wanted: float | None = None
    ) -> None:
        """Of several values the median and their range; ``wanted``: at most so much."""
        middle = statistics.median(values)
        self.figures[what] = {"unit": unit, "median": middle, "values": list(values)}
        notes = [f"{min(values):.3g} to {max(values):.3g}"] if len(values) > 1 else []
        if wanted is not None:
            self.figures[what]["wanted"] = wanted
            notes.append(f"wanted {wanted:g}")
        print(what, f"{middle:.4g} {unit}", f"({'; '.join(notes)})" if notes else "", flush=True)  # noqa: T201 - the result


class Cost(NamedTuple):
    """Of a command; processor times in seconds are those of its process, and of the daemon's."""

    seconds: float
    processor: float
    daemon: float
    output: bytes


def call(mount: Mount, verb: str, *arguments: object) -> Cost:
    """Run `tierfs` and take its time.

    Raises:
        CalledProcessError: it failed.
    """
    before, own = _children(), _of_daemon(mount.pid)
    began = time.monotonic()
    done = subprocess.run(command(verb, *arguments), check=True, stdout=subprocess.PIPE)
    seconds = time.monotonic() - began
    return Cost(seconds, _children() - before, _of_daemon(mount.pid) - own, done.stdout)


def command(verb: str, *arguments: object) -> list[str]:
    """The command line of `tierfs`."""
    return [sys.executable, "-m", "tierfs", *verb.split(), *map(str, arguments)]


def question(mount: Mount, asked: Question) -> list[str]:
    """That of a find."""
    return command("find", mount.path, asked.expression, *asked.options)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _of_daemon(pid: int) -> float:
    """Seconds of a daemon and its workers, ended or not (proc_pid_stat(5): cutime)."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    user, system = words.rpartition(")")[2].split()[13:15]
    ended = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return ended + sum(map(processor_seconds, (pid, *workers_of(pid))))


# ------------------------------------------------------------------ memory


class Memory(threading.Thread):
    """Looks how much memory a command and the daemon's worker have, every other moment.

    ``most`` are bytes by what it is: VmHWM, in which mapped pages of the index count, and the most
    that was seen of RssAnon (proc_pid_status(5)).
    """

    def __init__(self, client: int, daemon: int) -> None:
        super().__init__(daemon=True)
        self._client, self._daemon_pid = client, daemon
        self.done = threading.Event()
        self.most: dict[str, int] = {}

    def run(self) -> None:
        """Until it is done."""
        for worker in workers_of(self._daemon_pid):  # which stayed from another command
            with suppress(OSError):
                Path(f"/proc/{worker}/clear_refs").write_text("5", encoding="ascii")
        while not self.done.wait(LOOK_S):
            self._look("command", self._client)
            for worker in workers_of(self._daemon_pid):
                self._look("worker", worker)

    def _look(self, who: str, pid: int) -> None:
        with suppress(OSError, IndexError, ValueError):  # it ended
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
            for field in ("VmHWM", "RssAnon"):
                size = int(status.partition(f"\n{field}:")[2].split()[0]) * KIB
                what = f"{who} {field}"
                self.most[what] = max(self.most.get(what, 0), size)


def memory_of(mount: Mount, words: Sequence[str]) -> tuple[dict[str, int], bytes]:
    """The most memory that a command and its worker had, and what it printed.

    Raises:
        CalledProcessError: it failed.
    """
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        memory = Memory(process.pid, mount.pid)
        memory.start()
        output, _ = process.communicate()
        memory.done.set()
        memory.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return memory.most, output


# ------------------------------------------------------------------ find


def fill(mount: Mount, files: int, *, tagged: int, known: int) -> None:
    """Add files to the index; one in ``tagged`` has a tag, one in ``known`` a fact; 0: none."""
    index = mount.flash / "index.db"
    fill_index(index, files, time.time_ns())
    values = {"first": FIRST, "end": FIRST + files, "values": VALUES}
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for every, statements in ((tagged, (_TAG,)), (known, (_FACT, _LOOKED_AT))):
            for statement in statements if every else ():
                connection.execute(statement, {**values, "every": every})
        connection.execute(_SERIALS)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def volume(place: Stage, home: Path) -> Mount:
    """A volume whose tag `user.label` is indexed; nothing runs by itself beside what is measured.

    It is away at the end.
    """
    made = Mount(home)
    place.later(made.abort)
    made.configure("tags", "{index: [user.label]}")
    made.configure("backup", "{enabled: false}")
    made.configure("scrub", "{interval: off}")
    return made


def measure_find(place: Stage, home: Path, given: argparse.Namespace, report: Report) -> None:
    """Finds by indexes and without, their memory, and what they cost a writer."""
    began = time.monotonic()
    mount = volume(place, home)
    fill(mount, given.inodes, tagged=EVERY, known=EVERY)
    report.add("made by SQL", "s", [time.monotonic() - began])
    began = time.monotonic()
    mount.mount()
    report.add("mount, with a new index of tags", "s", [time.monotonic() - began])
    report.add("index", "MiB", [(mount.flash / "index.db").stat().st_size / MIB])
    tagged = range(-(-FIRST // EVERY), -(-(FIRST + given.inodes) // EVERY))
    each = sum(1 for number in tagged if number % VALUES == 7)
    for asked in INDEXED:
        found = _measure_question(mount, asked, "indexed", 1, given, report)
        if asked.expression in {TAG, FACT}:
            assert found == each, f"{asked.what}: {found} files, not {each}"
    for asked in SLOW:
        _measure_question(mount, asked, "unindexed", 60, given, report)
    if given.turns:
        measure_beside(mount, given, report)
    mount.unmount()


def _measure_question(
    mount: Mount,
    asked: Question,
    kind: str,
    wanted: float,
    given: argparse.Namespace,
    report: Report,
) -> int:
    """Times and memory of a find; returns how many files it found, or rows that it printed."""
    what = f"find, {kind}, {asked.what}"
    words = question(mount, asked)
    most, output = memory_of(mount, words)  # also reads what is not in memory
    found = int(output) if "--count" in asked.options else len(output.splitlines())
    if "-0" in asked.options:
        found = output.count(b"\0")
    assert found, f"{what}: nothing is found"
    took = [call(mount, *words[3:]).seconds for _ in range(given.repeat)]
    report.add(what, "s", took, wanted)
    for who in ("command", "worker"):
        report.add(f"{what}, memory of the {who}", "MiB", [most[f"{who} VmHWM"] / MIB])
    report.figures[what] |= {"found": found, "memory": most}
    return found


def measure_beside(mount: Mount, given: argparse.Namespace, report: Report) -> None:
    """One writer, alone, beside each find, and beside a Python that only starts as often."""
    writer = Writer(mount.path / "written", EVERY_S)
    writer.work(_for(given.seconds))  # nothing is measured while caches fill
    idle: dict[str, list[float]] = {asked.what: [] for asked in SLOW}
    beside: dict[str, list[float]] = {asked.what: [] for asked in SLOW}
    starts: dict[str, list[float]] = {asked.what: [] for asked in SLOW}
    for _ in range(given.turns):
        for asked in SLOW:
            idle[asked.what].append(p99(writer.work(_for(given.seconds))))
            took, each = _create_beside(writer, question(mount, asked), 0, given.seconds)
            beside[asked.what].append(p99(took))
            took, _ = _create_beside(writer, STARTS_ONLY, each, given.seconds)
            starts[asked.what].append(p99(took))
    for asked in SLOW:
        what = f"creates beside find, {asked.what}, p99"
        report.add(f"{what}, idle just before", "ms", idle[asked.what])
        report.add(what, "ms", beside[asked.what])
        for name, found in (
            (f"{what}, to idle", beside),
            (f"{what}, of Python alone as often, to idle", starts),
        ):
            pairs = zip(found[asked.what], idle[asked.what], strict=True)
            wanted = 1.5 if found is beside else None
            report.add(name, "times", [one / other for one, other in pairs], wanted)


def _create_beside(
    writer: Writer, words: Sequence[str], least: float, seconds: float
) -> tuple[list[float], float]:
    """Milliseconds of the creates beside whole commands, for ``seconds`` at least.

    One starts ``least`` seconds after the one before it, or later. Also returns how many seconds
    there were from one start to the next.
    """
    took: list[float] = []
    began, count = time.monotonic(), 0
    while not took or time.monotonic() < began + seconds:
        next_at = time.monotonic() + least
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            took += writer.work(partial(_has_ended, process, next_at))
        count += 1
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
    return took, (time.monotonic() - began) / count


def _has_ended(process: subprocess.Popen[bytes], at: float) -> bool:
    """Whether the process has ended, and the clock is past ``at``."""
    return process.poll() is not None and time.monotonic() >= at


def _for(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


# ------------------------------------------------------------------ tags and manifest


def measure_tags(mount: Mount, home: Path, files: int, report: Report) -> None:
    """A tag for each file from a Parquet file."""
    table = home / "labels.parquet"
    numbers = range(files)
    columns = {
        "path": [_path(files, number) for number in numbers],
        "user.label": [f"label-{number % VALUES}" for number in numbers],
    }
    pq.write_table(pa.table(columns), table)
    cost = call(mount, "tag import", table, "--root", mount.path, "--json")
    said = json.loads(cost.output)
    assert (said["tags"], said["errors"]) == (files, 0), said
    for number in random.Random(0).sample(numbers, min(SAMPLE, files)):
        path = mount.path / _path(files, number)
        assert os.getxattr(path, "user.label").decode() == f"label-{number % VALUES}", path
    _add_cost(report, f"tag import of {files:,}", cost, 120 * max(1.0, files / 1_000_000))
    report.add("tag import, a tag", "us", [cost.seconds / files * 1e6])


def _path(files: int, number: int) -> str:
    """Where a file of `fill_index` is."""
    return f"d{FIRST + files + number // IN_DIRECTORY}/f{FIRST + number}"


def measure_manifest(mount: Mount, home: Path, files: int, report: Report) -> None:
    """A table of all files."""
    table = home / "manifest.parquet"
    cost = call(mount, "manifest", mount.path, "-o", table)
    with pq.ParquetFile(table) as found:
        rows, names = found.metadata.num_rows, found.schema_arrow.names
    assert rows == files, f"{rows} rows, not {files}"
    assert {"user.label", "image.width"} <= set(names), names
    _add_cost(report, f"manifest of {files:,}", cost, 20 * max(1.0, files / 1_000_000))
    report.add("manifest, size", "MiB", [table.stat().st_size / MIB])


def _add_cost(report: Report, what: str, cost: Cost, wanted: float | None = None) -> None:
    report.add(what, "s", [cost.seconds], wanted)
    report.add(f"{what}, processor of the command", "s", [cost.processor])
    report.add(f"{what}, processor of the daemon and its worker", "s", [cost.daemon])


# ------------------------------------------------------------------ view


def measure_view(mount: Mount, links: int, report: Report) -> None:
    """A view of images by tag, read as a loader of images does."""
    began = time.monotonic()
    make_images(mount.path / "images", links)
    report.add(f"{links:,} images made and tagged", "s", [time.monotonic() - began])
    view = mount.path / "by-label"
    expression = "name = *.png"
    cost = call(mount, "view create", view, expression, "--by", "user.label", "--json")
    made = json.loads(cost.output)["made"]
    assert made == links, f"{made} links, not {links}"
    _add_cost(report, f"view create of {links:,}", cost)
    report.add("view create, a link", "us", [cost.seconds / links * 1e6])
    mount.remount()
    began = time.monotonic()
    count, sample, by = image_folder(view)
    report.add(f"{by}, walk of a new mount", "s", [time.monotonic() - began])
    assert count == links, f"{count} images, not {links}"
    order = list(range(count))
    for turn in ("first", "second"):
        random.Random(turn).shuffle(order)
        began = time.monotonic()
        for number in order:
            assert sample(number).size == (SIDE, SIDE)
        seconds = time.monotonic() - began
        report.add(f"{by}, {turn} epoch", "files/s", [count / seconds])


def make_images(root: Path, links: int) -> None:
    """The same small PNG, some hundred in a directory, each with a tag."""
    picture = io.BytesIO()
    noise = random.Random(0).randbytes(3 * SIDE * SIDE)
    Image.frombytes("RGB", (SIDE, SIDE), noise).save(picture, "PNG")
    data = picture.getvalue()
    for number in range(links):
        directory = root / f"{number // IN_DIRECTORY}"
        if number % IN_DIRECTORY == 0:
            directory.mkdir(parents=True)
        path = directory / f"{number}.png"
        path.write_bytes(data)
        os.setxattr(path, "user.label", b"label-%d" % (number % VALUES))


def image_folder(root: Path) -> tuple[int, Callable[[int], Image.Image], str]:
    """How many images there are, what opens one, and whose walk it was.

    Without torchvision the same is done as by its ImageFolder and its loader with Pillow.
    """
    try:
        datasets = importlib.import_module("torchvision.datasets")
    except ImportError:
        paths = _walk(root)
        return len(paths), lambda number: _opened(paths[number]), "as ImageFolder"
    folder = datasets.ImageFolder(os.fspath(root))
    return len(folder), lambda number: folder[number][0], "ImageFolder"


def _walk(root: Path) -> list[str]:
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    paths = []
    for name in classes:
        for home, _, names in sorted(os.walk(root / name, followlinks=True)):
            paths += [os.path.join(home, one) for one in sorted(names) if one.endswith(".png")]
    return paths


def _opened(path: str) -> Image.Image:
    with open(path, "rb") as file:
        return Image.open(file).convert("RGB")


# ------------------------------------------------------------------ the command


def measure_small(place: Stage, home: Path, given: argparse.Namespace, report: Report) -> None:
    """Tags, a manifest and a view on a volume of ``--files`` files."""
    mount = volume(place, home)
    fill(mount, given.files, tagged=0 if "tags" in given.only else 1, known=EVERY)
    mount.mount()
    if "tags" in given.only:
        measure_tags(mount, home, given.files, report)
    if "manifest" in given.only:
        measure_manifest(mount, home, given.files, report)
    if "view" in given.only:
        measure_view(mount, given.links, report)
    mount.unmount()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--inodes", type=int, default=10_000_000, help="to search")
    parser.add_argument("--files", type=int, default=1_000_000, help="of tags and manifest")
    parser.add_argument("--links", type=int, default=100_000, help="of the view")
    parser.add_argument("--repeat", type=int, default=3, help="finds of each kind")
    parser.add_argument("--turns", type=int, default=3, help="of creates beside finds; 0: none")
    parser.add_argument("--seconds", type=float, default=10, help="of creates at least, each")
    given = parser.parse_args()
    given.only = given.only.split(",")
    if not set(given.only) <= set(PARTS):
        parser.error(f"--only takes {', '.join(PARTS)}")
    return given


def main() -> None:
    """Measure the parts, and print what was found."""
    given, report = parsed(), Report()
    with stage() as place:
        home = place.directory(given.directory.absolute())
        if "find" in given.only:
            measure_find(place, home / "searched", given, report)
        if {"tags", "manifest", "view"} & set(given.only):
            measure_small(place, home / "tagged", given, report)
    sizes = {"inodes": given.inodes, "files": given.files, "links": given.links}
    print(json.dumps({**sizes, "figures": report.figures}, indent=2))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
