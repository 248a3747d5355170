"""Whether header facts are right, hold against hostile files, and what gathering costs others.

``python -m tests.benchmarks.gathering --from /usr/share/icons --from /usr/share/sounds DIRECTORY``
copies every file of those directories that an extractor takes for its own, and samples of the
libraries, into a volume; compares each fact with what the libraries say of the whole file; does
the same with corrupted files, which the libraries read in a process of their own; and measures a
reader and a creator, while facts are gathered and while not. ``DIRECTORY`` must be empty; flash
and disk are in it. Everything is unmounted and removed in the end, also after Ctrl-C.

Needs what the tests need (the extra ``dev``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import random
import resource
import shutil
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import soundfile
from PIL import Image

from tests.benchmarks.backing_up import DAY_S, p99
from tests.facts.said import HEAD, Said, said_of
from tests.facts.samples import corrupted, every_sample
from tests.facts.test_extractors import png
from tests.facts.workers import WorkerMaker
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until
from tierfs.facts.extractor import LONGEST_TEXT, load_installed
from tierfs.facts.worker import extractor_for

PARTS: Final = ("packages", "corrupted", "waiting")
PER_DIRECTORY: Final = 1000
WANTED_RATIO: Final = 1.5
PACE_S: Final = 0.002
LOOK_S: Final = 0.02
READ: Final = 4096

JUDGE_S: Final = 60
"""What a library may take for one file."""
JUDGE_MEMORY: Final = 8 << 30

HOSTILE: Final = (b"LOOP", b"CRSH", b"EXIT", b"BOMB", b"MANY", b"LIAR", b"BHND")
"""What the extractor of `tests.facts.workers` goes wrong at."""

INSTALLED: Final = load_installed().extractors
KEYS: Final = {each.name: tuple(each.keys) for each in INSTALLED}


class File(NamedTuple):
    """One file of the mount. ``source``: its bytes, or where they are."""

    extractor: str
    name: str
    source: bytes | Path

    def data(self) -> bytes:
        """Its bytes, not by way of the mount."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(slots=True)
class Compared:
    """Facts of some files, against what the libraries say."""

    files: Counter[str] = field(default_factory=Counter)
    """By extractor."""
    equal: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    """Facts that the library tells and that are not given, by key."""
    unjudged: Counter[str] = field(default_factory=Counter)
    """Facts of which the library says nothing, by key."""
    errors: int = 0
    """Files that the extractor refuses."""
    refused_alone: list[str] = field(default_factory=list)
    """Of these, those that the library reads."""
    wrong: list[str] = field(default_factory=list)
    """Also facts of files that the library refuses."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {key: dict(one) if isinstance(one, Counter) else one for key, one in found.items()}


@dataclass(slots=True)
class Answers:
    """Whether the mount answers meanwhile; milliseconds."""

    asked: int = 0
    longest: float = 0
    failed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Waited:
    """p99 in milliseconds, one for each turn."""

    idle: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Within each turn, beside gathering to without."""
        return [one / other for one, other in zip(self.beside, self.idle, strict=True)]


# ------------------------------------------------------------------ what the libraries say


class Judge:
    """Asks the libraries in another process, which a hostile file may end."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def said(self, file: File) -> Said | str:
        """What the library says of a file, or why it refuses it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, get_context("spawn"), _limit)
        try:
            return self._pool.submit(_said, file).result()
        except BrokenProcessPool:
            self.close()
            return "ended the process, or took too long"

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None


def _limit() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # tifffile tells of every tag that is wrong
    resource.setrlimit(resource.RLIMIT_AS, (JUDGE_MEMORY, JUDGE_MEMORY))


def _said(file: File) -> Said | str:
    signal.alarm(JUDGE_S)
    Image.MAX_IMAGE_PIXELS = None
    try:
        data = file.data()
        said = said_of(data, file.extractor)
        if file.extractor == "sound" and isinstance(file.source, Path):
            said["audio.frames"] = len(soundfile.read(file.source, always_2d=True)[0])
    except Exception as error:  # noqa: BLE001 - a hostile file may make a library raise anything
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.alarm(0)
    return said


def compare(mount: Mount, files: Sequence[File], errors: dict[str, str]) -> Compared:
    """The facts that the mount gives of files, with what the libraries say of them."""
    found, judge = Compared(), Judge()
    try:
        for file in files:
            said = judge.said(file)
            found.files[file.extractor] += 1
            if f"/{file.name}" in errors:
                found.errors += 1
                if file.extractor and not isinstance(said, str):
                    found.refused_alone.append(f"{_shown(file)}: {errors['/' + file.name]}")
            judge_one(file, _facts(mount.path / file.name, file.extractor), said, found)
    finally:
        judge.close()
    return found


def judge_one(file: File, facts: dict[str, str], said: Said | str, found: Compared) -> None:
    """Count what is equal and unknown, and note what is wrong."""
    if isinstance(said, str):
        if facts:
            found.wrong.append(f"{_shown(file)}: {facts}, and the library refuses it: {said}")
        return
    for key, value in said.items():
        if key not in facts:
            found.unknown[key] += 1
        elif _is(facts[key], value):
            found.equal += 1
        else:
            found.wrong.append(f"{_shown(file)}: {key} is {facts[key]!r}, not {value!r:.100}")
    found.unjudged.update(facts.keys() - said.keys())


def _is(text: str, value: float | str) -> bool:
    if isinstance(value, str):
        return text == value and len(text) <= LONGEST_TEXT
    try:
        return float(text) == value
    except ValueError:
        return False


def _shown(file: File) -> str:
    source = file.source if isinstance(file.source, Path) else f"{len(file.source)} bytes"
    return f"{file.name} ({source})"


def _facts(path: Path, extractor: str) -> dict[str, str]:
    found = {}
    for key in KEYS.get(extractor, ()):
        with suppress(OSError):
            found[key] = os.getxattr(path, f"tierfs.fact.{key}").decode()
    return found


# ------------------------------------------------------------------ files


def packaged(directories: Sequence[Path], most: int) -> Iterator[File]:
    """Regular files below directories that an extractor takes for its own."""
    paths = itertools.chain.from_iterable(sorted(each.rglob("*")) for each in directories)
    taken = 0
    for path in paths:
        if path.is_symlink() or not path.is_file() or taken == most:
            continue
        with path.open("rb") as stream:
            extractor = extractor_for(stream.read(HEAD), INSTALLED)
        if extractor is not None:
            name = f"packages/{taken // PER_DIRECTORY}/{taken}{path.suffix}"
            yield File(extractor.name, name, path)
            taken += 1


def samples() -> Iterator[File]:
    """What the libraries themselves make."""
    for number, (extractor, name, data) in enumerate(every_sample()):
        yield File(extractor, f"samples/{number}-{name}", data)


def spoiled(count: int, seed: int) -> Iterator[File]:
    """Corrupted files, a decompression bomb, and such as make a worker loop or end."""
    for number, (_, name, data) in enumerate(corrupted(count, seed)):
        taker = extractor_for(data[:HEAD], INSTALLED)
        path = f"corrupted/{number // PER_DIRECTORY}/{number}-{name}"
        yield File(taker.name if taker else "", path, data)
    yield File("image", "corrupted/bomb.png", png(200_000, 200_000, bytes(20_000_000)))
    for start in HOSTILE:
        yield File("", f"corrupted/{start.decode()}", start + bytes(100))
    yield File("image", "corrupted/last.png", png(3, 1, bytes(2)))


def write(mount: Mount, files: Iterator[File]) -> list[File]:
    """Put files into the mount; returns them."""
    written = []
    for file in files:
        path = mount.path / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data())
        written.append(file)
    return written


# ------------------------------------------------------------------ gathering


def ask(mount: Mount, verb: str, *options: str) -> dict[str, Any]:
    """What ``tierfs facts`` says."""
    record = json.loads(tierfs("facts", verb, mount.path, "--json", *options, timeout=DAY_S))
    assert isinstance(record, dict)
    return record


def refused(mount: Mount) -> dict[str, str]:
    """Why there are no facts of files, by path."""
    lines = tierfs("facts", "errors", "--json", mount.path, timeout=DAY_S).splitlines()
    return {each["path"]: each["error"] for each in map(json.loads, lines)}


class Asker(threading.Thread):
    """Uses the mount every other moment."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(daemon=True)
        self._directory = mount.path / "asked"
        self._done = threading.Event()
        self.found = Answers()
        self._directory.mkdir(exist_ok=True)
        (self._directory / "file").write_bytes(b"here")

    def run(self) -> None:
        """Until `end`."""
        file = self._directory / "file"
        while not self._done.wait(LOOK_S):
            self.found.asked += 1
            # No file is made: only those that are compared are to be looked at.
            made = self._directory / f"{self.found.asked}"
            began = time.perf_counter()
            try:
                made.mkdir()
                if file.read_bytes() != b"here" or made.name not in os.listdir(self._directory):
                    self.found.failed.append("other bytes, or another listing")
                made.rmdir()
            except OSError as error:
                self.found.failed.append(str(error))
            took = (time.perf_counter() - began) * 1000
            self.found.longest = max(self.found.longest, took)

    def end(self) -> Answers:
        self._done.set()
        self.join()
        return self.found


def check(mount: Mount, files: Iterator[File]) -> dict[str, Any]:
    """Gather the facts of files, and compare them."""
    written, asker = write(mount, files), Asker(mount)
    mount.remount()  # all bytes are settled
    pid = mount.pid
    asker.start()
    try:
        began = time.monotonic()
        status = ask(mount, "run", "--wait")
        took = time.monotonic() - began
    finally:
        answers = asker.end()
    errors = refused(mount)
    compared = compare(mount, written, errors)
    looked_at = sum(status["files"].values())
    say(f"{looked_at} files looked at in {took:.1f} s: {dict(compared.files)}")
    say(f"{compared.equal} facts equal, {len(compared.wrong)} wrong (wanted: 0)")
    say(f"unknown: {dict(compared.unknown)}; not judged: {dict(compared.unjudged)}")
    say(f"{compared.errors} refused, {len(compared.refused_alone)} of them not by the library")
    say(f"meanwhile {answers.asked} answers, the longest after {answers.longest:.0f} ms")
    say(f"workers ended: {status['workers_ended']}")
    for each in (*compared.wrong, *(f"refused alone: {one}" for one in compared.refused_alone)):
        say(f"  {each}")
    failures = [*answers.failed, *_missed(mount, written, errors, status, pid)]
    for each in failures:
        say(f"  FAILED: {each}")
    return {
        "seconds": took,
        "looked_at": looked_at,
        "workers_ended": status["workers_ended"],
        "answers": asdict(answers),
        "failures": failures,
        **compared.record(),
    }


def _missed(
    mount: Mount, files: list[File], errors: dict[str, str], status: dict[str, Any], pid: int
) -> Iterator[str]:
    """What ended gathering, or is not listed."""
    if status["problem"] or status["asked"] or mount.status()["pid"] != pid:
        yield f"gathering, or the daemon, ended: {status}"
    for file in files:
        state = file.name.rpartition("/")[2].encode()
        if state in HOSTILE and f"/{file.name}" not in errors:
            yield f"{file.name} is not among the errors"
        if state == b"last.png" and _facts(mount.path / file.name, "image")["image.width"] != "3":
            yield "the last file has no facts"


# ------------------------------------------------------------------ who waits


class Worker:
    """A reader and a creator that do something every other moment."""

    def __init__(self, mount: Mount, files: int) -> None:
        self._mount = mount
        self._created = 0
        self._chance = random.Random(7)
        self._paths = [f"{mount.path}/small/{n // PER_DIRECTORY}/{n}" for n in range(files)]
        for path in self._paths:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(b"\0" + self._chance.randbytes(8191))

    def read(self) -> float:
        """Milliseconds that the first bytes of some small file took, not of the page cache."""
        path = self._chance.choice(self._paths)
        began = time.perf_counter()
        os.stat(path)
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, READ)
        took = (time.perf_counter() - began) * 1000
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        return took

    def create(self) -> float:
        """Milliseconds that an empty file took."""
        if self._created % PER_DIRECTORY == 0:
            (self._mount.path / f"created/{self._created // PER_DIRECTORY}").mkdir(parents=True)
        path = f"{self._mount.path}/created/{self._created // PER_DIRECTORY}/{self._created}"
        self._created += 1
        began = time.perf_counter()
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        return (time.perf_counter() - began) * 1000


def paced(work: Callable[[], float], seconds: float) -> float:
    """The p99 of what is done every `PACE_S`, in milliseconds."""
    took, end = list[float](), time.monotonic() + seconds
    while time.monotonic() < end:
        took.append(work())
        time.sleep(PACE_S)
    return p99(took)


def measure(mount: Mount, given: argparse.Namespace) -> dict[str, Any]:
    """A reader and a creator, in turns with gathering and without."""
    worker = Worker(mount, given.small)
    data = [data for _, _, data in every_sample() if len(data) <= HEAD]
    names = (f"changed/{number // PER_DIRECTORY}/{number}" for number in range(given.changed))
    changed = write(mount, (File("", *each) for each in zip(names, itertools.cycle(data))))
    rows, rates = {"reader": Waited(), "creator": Waited()}, list[float]()
    works = ((rows["reader"], worker.read), (rows["creator"], worker.create))
    for turn in range(given.turns):
        for beside in (False, True) if turn % 2 == 0 else (True, False):
            change(mount, changed)
            if beside:
                ask(mount, "run")
            began, before = time.monotonic(), _looked_at(ask(mount, "status"))
            for waited, work in works:
                (waited.beside if beside else waited.idle).append(paced(work, given.seconds))
            status = ask(mount, "status")
            if beside:
                rates.append((_looked_at(status) - before) / (time.monotonic() - began))
                if status["state"] == "idle":
                    say("gathering ended before the turn did: give a larger --changed")
                ask(mount, "run", "--wait")
    say(f"{statistics.median(rates):.0f} files a second looked at meanwhile")
    for name, waited in rows.items():
        say(f"{name}: p99 {_spread(waited.idle)} ms idle, {_spread(waited.beside)} ms beside,")
        say(f"  ratio {_spread(waited.ratios)} (wanted: at most {WANTED_RATIO})")
    return {name: {**asdict(row), "ratios": row.ratios} for name, row in rows.items()} | {
        "looked_at_per_s": rates
    }


def change(mount: Mount, files: list[File]) -> None:
    """Write a byte of each file, so that it is to be looked at again, and have it settled."""
    for file in files:
        with (mount.path / file.name).open("r+b") as stream:
            stream.write(file.data()[:1])
    mount.remount()  # nothing is cached, either
    wait_until(lambda: bool(ask(mount, "status")["extractors"]), what="a worker works", timeout=60)


def _looked_at(status: dict[str, Any]) -> int:
    return sum(status["files"].values())


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - the result


# ------------------------------------------------------------------ the program


def parts(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Do what is asked for on one mount."""
    # The daemon hands it on to its workers, where it runs from its source directory.
    os.environ["PYTHONPATH"] = str(WorkerMaker(home / "packages").package(1))
    mount = Mount(home)
    try:
        mount.configure("facts", "{enabled: true, quiet: 1d}")  # only when it is asked to
        mount.mount()
        result: dict[str, Any] = {}
        if "packages" in given.only:
            files = itertools.chain(samples(), packaged(given.source, given.files))
            result["packages"] = check(mount, files)
        if "corrupted" in given.only:
            result["corrupted"] = check(mount, spoiled(given.corrupted, given.seed))
        if "waiting" in given.only:
            result["waiting"] = measure(mount, given)
        mount.unmount()
        return result
    finally:
        mount.abort()


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--from", dest="source", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--files", type=int, default=100_000, help="of those directories, at most")
    parser.add_argument("--corrupted", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of the reader in a turn")
    parser.add_argument("--small", type=int, default=5000, help="files that are read")
    parser.add_argument("--changed", type=int, default=5000, help="files looked at in a turn")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    given = parser.parse_args()
    given.only = given.only.split(",")
    if wrong := set(given.only) - {*PARTS}:
        parser.error(f"no such part: {', '.join(wrong)}")
    if given.directory.exists() and any(given.directory.iterdir()):
        parser.error(f"{given.directory} is not empty")
    return given


def main() -> None:
    """Do all of it, and print what was found."""
    given = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = given.directory.absolute()
    try:
        result = parts(given, home)
    finally:
        for each in home.iterdir() if home.exists() else ():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    say(json.dumps(result, indent=2))
    checked = [each for each in result.values() if "wrong" in each]
    sys.exit(any(each["wrong"] or each["failures"] for each in checked))


if __name__ == "__main__":
    main()
