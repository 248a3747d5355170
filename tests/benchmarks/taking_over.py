"""What programs notice of daemons that are killed or upgraded: a pause, and nothing else.

``python -m tests.benchmarks.taking_over DIRECTORY --kills 50`` makes a volume in a new directory in
``DIRECTORY``, mounts it with the option ``supervise``, and lets programs use it all at once. At
random moments 0.5 to 2 s apart the daemon gets SIGKILL, or with ``--upgrades 20`` is replaced by
``tierfs upgrade``; with both, in random order. Then the programs end, the volume is mounted again,
what they left is compared with what they did, and ``tierfs fsck --data`` follows. The exit status
is 1 if anything was wrong, whatever the times are.
"""

from __future__ import annotations

import argparse
import json
import mmap
import multiprocessing
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from tests.benchmarks.stage import Stage, stage
from tests.model.driver import RenameFlags
from tests.model.renameat2 import renameat2
from tests.support.mounting import HEAD, Mount, tierfs
from tierfs.common.errors import TierfsError
from tierfs.daemon.supervisor import QUICK_S

P = ParamSpec("P")
T = TypeVar("T")

LOADERS: Final = 4
SIZES: Final = (0, 1, 4095, 20_000, HEAD - 1, HEAD, HEAD + 1, 2 * HEAD, 200_001, 300_000)
"""Of files in bytes: both sides of the head boundary."""
PIECE: Final = 128 * 1024
"""Bytes of a read(2)."""
MIB: Final = 1 << 20
ARCHIVED: Final = 100
"""Files of the archive."""
REPOSITORY_FILES: Final = 20
ROW: Final = 500
"""Bytes of a row of the database, about."""

FIRST_S: Final = 5.0
"""Before the first moment: the first standby is a process that starts when the mount answers."""
SOONEST_S: Final = 0.5
LATEST_S: Final = 2.0
LATE_S: Final = QUICK_S + 0.3
MOST_QUICK: Final = 2
"""Daemons in a row that are killed within ``LATE_S``. The supervisor waits longer and longer after
those that served for less than ``QUICK_S``, 0.6 s after the third, and gives up in the end."""
LIMIT_S: Final = 60.0
"""For one step; after that the mount is aborted, so that nobody waits for it any longer."""

FAILURES: Final = (OSError, AssertionError, ValueError, sqlite3.Error, TierfsError)
"""AssertionError: also of commands that fail."""

Until = Callable[[], bool]
Made = dict[str, int]

_NOISE: Final = random.Random(1).randbytes(MIB + max(SIZES))


def content(number: int, size: int) -> bytes:
    """What file, page or row ``number`` holds; different for each up to a million."""
    start = number * 7919 % MIB
    return _NOISE[start : start + size]


def size_of(number: int) -> int:
    """Bytes of file ``number``."""
    return SIZES[number % len(SIZES)]


def require(found: bytes, number: int, size: int, what: str) -> None:
    """AssertionError says where bytes differ from ``content``."""
    expected = content(number, size)
    if found != expected:
        pairs = enumerate(zip(found, expected, strict=False))
        first = next((at for at, (one, other) in pairs if one != other), "the end of the shorter")
        message = f"{what} {number}: {len(found)} of {size} bytes, wrong from {first}"
        raise AssertionError(message)


class Calls:
    """Takes the time of calls, and rests ``rest`` seconds after each."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._took: dict[str, list[float]] = {}

    def make(self, what: str, call: Callable[P, T], *words: P.args, **named: P.kwargs) -> T:
        """Call it; raises what it raises. ``what``: its kind."""
        began = time.perf_counter()
        try:
            return call(*words, **named)
        finally:
            self._took.setdefault(what, []).append(time.perf_counter() - began)
            time.sleep(self._rest)

    @property
    def number(self) -> int:
        """How many there were."""
        return sum(map(len, self._took.values()))

    def longest(self) -> tuple[float, float, str]:
        """Of the longest stall: its seconds, those of its call, and the kind of the call.

        A stall is how much longer a call took than the median of its kind: a command of git or tar
        is one call, and has work of its own.
        """
        found = [
            (max(took) - statistics.median(took), max(took), what)
            for what, took in self._took.items()
        ]
        return max(found, default=(0.0, 0.0, ""))


def command(*words: str | Path, cwd: Path) -> str:
    """What a program prints; AssertionError if it fails, or prints an error."""
    settings = {"LC_ALL": "C", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    # In the session of its caller, with which it is ended.
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, **settings}, check=False, capture_output=True, text=True
    )
    said = f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout


# ------------------------------------------------------------------ programs


class Program(Protocol):
    """Uses the mount. Both methods raise one of ``FAILURES`` where something is wrong."""

    name: str

    def work(self, calls: Calls, until: Until) -> Made:
        """Go on until it is time; returns what was made, for ``check``."""

    def check(self, made: Made) -> None:
        """Compare what is there after all with what was made."""


class Loader:
    """One of the workers of a data loader: reads its part of all files, shuffled in each epoch."""

    def __init__(self, root: Path, files: int, part: int) -> None:
        self.name = f"loader {part}"
        self._root, self._files, self._part = root, files, part

    def work(self, calls: Calls, until: Until) -> Made:
        for epoch in count():
            order = random.Random(epoch).sample(range(self._files), self._files)
            for number in order[self._part :: LOADERS]:
                if until():
                    return {"epochs": epoch}
                self._read(calls, number)
        raise AssertionError

    def _read(self, calls: Calls, number: int) -> None:
        file = calls.make("open", os.open, f"{self._root}/{number}", os.O_RDONLY)
        pieces = list(iter(lambda: calls.make("read", os.read, file, PIECE), b""))
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # the next epoch asks the mount
        calls.make("close", os.close, file)
        require(b"".join(pieces), number, size_of(number), "file")

    def check(self, made: Made) -> None:  # noqa: ARG002 - nothing is made
        for number in range(self._part, self._files, LOADERS):
            found = (self._root / f"{number}").read_bytes()
            require(found, number, size_of(number), "file")


class Mapper:
    """Reads random pages of a large file that is mapped."""

    name = "mmap"

    def __init__(self, path: Path, pages: int) -> None:
        self._path, self._pages = path, pages

    def work(self, calls: Calls, until: Until) -> Made:
        chance = random.Random(2)
        with (
            self._path.open("rb", buffering=0) as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        ):
            mapped.madvise(mmap.MADV_RANDOM)
            while not until():
                page = chance.randrange(self._pages)
                at = page * mmap.PAGESIZE
                found = calls.make("page", mapped.__getitem__, slice(at, at + mmap.PAGESIZE))
                require(found, page, mmap.PAGESIZE, "page")
                mapped.madvise(mmap.MADV_DONTNEED, at, mmap.PAGESIZE)
                os.posix_fadvise(file.fileno(), at, mmap.PAGESIZE, os.POSIX_FADV_DONTNEED)
        return {}

    def check(self, made: Made) -> None:  # noqa: ARG002 - nothing is made
        with self._path.open("rb") as file:
            for page in range(self._pages):
                require(file.read(mmap.PAGESIZE), page, mmap.PAGESIZE, "page")


class Database:
    """Commits one row after the other to SQLite, with a write-ahead log."""

    name = "SQLite"

    def __init__(self, root: Path) -> None:
        self._path = root / "rows.db"

    def work(self, calls: Calls, until: Until) -> Made:
        rows = 0
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, content BLOB)")
            while not until():
                values = rows, content(rows, ROW + rows % ROW)
                calls.make("commit", connection.execute, "INSERT INTO row VALUES (?, ?)", values)
                rows += 1
        return {"rows": rows}

    def check(self, made: Made) -> None:
        with closing(sqlite3.connect(self._path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute("SELECT number, content FROM row ORDER BY number").fetchall()
        for number, found in rows:
            require(found, number, ROW + number % ROW, "row")
        assert [number for number, _ in rows] == list(range(made["rows"])), f"{len(rows)} rows"


class Git:
    """Makes one commit after the other."""

    name = "git"

    def __init__(self, root: Path) -> None:
        self._root = root

    def work(self, calls: Calls, until: Until) -> Made:
        self._git("init", "--quiet")
        settings = {"user.name": "n", "user.email": "n@localhost", "gc.autoDetach": "false"}
        for key, value in settings.items():
            self._git("config", key, value)
        commits = 0
        while not until():
            number = commits % REPOSITORY_FILES
            data = content(commits, size_of(commits)) + b"%d" % commits
            calls.make("write", (self._root / f"{number}").write_bytes, data)
            calls.make("git add", self._git, "add", f"{number}")
            calls.make("git commit", self._git, "commit", "--quiet", f"--message={commits}")
            commits += 1
        return {"commits": commits}

    def _git(self, *words: str) -> str:
        return command("git", *words, cwd=self._root)

    def check(self, made: Made) -> None:
        self._git("fsck", "--full", "--strict")
        subjects = self._git("log", "--reverse", "--format=%s").split()
        assert subjects == [f"{number}" for number in range(made["commits"])], subjects
        assert not (status := self._git("status", "--porcelain")), status


class Tar:
    """Unpacks an archive, compares, and removes what was unpacked, again and again."""

    name = "tar"

    def __init__(self, root: Path, archive: Path) -> None:
        self._root, self._archive = root, archive

    def make_archive(self, sources: Path) -> None:
        """Of files that are made in ``sources``."""
        for number in range(ARCHIVED):
            path = sources / f"{number % 7}" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(number, size_of(number) // 4))
        (sources / "link").symlink_to("0/0")
        with tarfile.open(self._archive, "w") as archive:
            archive.add(sources, ".")

    def work(self, calls: Calls, until: Until) -> Made:
        rounds = 0
        while not until():
            into = self._root / f"{rounds}"
            calls.make("mkdir", into.mkdir)
            for what in ("extract", "compare"):
                words = ["tar", f"--{what}", f"--file={self._archive}"]
                told = calls.make(f"tar --{what}", command, *words, cwd=into)
                assert not told, told
            calls.make("rm -r", command, "rm", "-r", into, cwd=self._root)
            rounds += 1
        return {"rounds": rounds}

    def check(self, made: Made) -> None:  # noqa: ARG002 - nothing stays
        assert not os.listdir(self._root)


class Once:
    """Changes that fail or undo themselves if they are made twice."""

    name = "once"

    def __init__(self, root: Path) -> None:
        self._root = root

    def work(self, calls: Calls, until: Until) -> Made:
        for name in ("left", "right"):
            (self._root / name).write_text(name)
        root = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        log = os.open(self._root / "log", os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND)
        rounds = 0
        while not until():
            exchange = b"left", b"right", RenameFlags.EXCHANGE
            calls.make("RENAME_EXCHANGE", renameat2, root, *exchange)
            calls.make("read", self._check_sides, rounds + 1)
            calls.make("O_APPEND", os.write, log, b"%d\n" % rounds)
            self._round(calls, self._root / f"{rounds}")
            rounds += 1
        for file in (root, log):
            os.close(file)
        return {"rounds": rounds}

    def _round(self, calls: Calls, directory: Path) -> None:
        one, other, third = (directory / name for name in ("one", "other", "third"))
        calls.make("mkdir", directory.mkdir)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        calls.make("close", os.close, calls.make("O_EXCL", os.open, one, flags))
        calls.make("XATTR_CREATE", os.setxattr, one, "user.once", b"1", os.XATTR_CREATE)
        calls.make("XATTR_REPLACE", os.setxattr, one, "user.once", b"2", os.XATTR_REPLACE)
        assert calls.make("getxattr", os.getxattr, one, "user.once") == b"2"
        calls.make("link", os.link, one, other)
        assert calls.make("stat", one.stat).st_nlink == 2
        calls.make("symlink", os.symlink, "one", third)
        assert sorted(calls.make("list", os.listdir, directory)) == ["one", "other", "third"]
        calls.make("removexattr", os.removexattr, one, "user.once")
        assert not calls.make("listxattr", os.listxattr, one)
        calls.make("unlink", os.unlink, one)
        calls.make("rename", os.rename, other, one)
        assert calls.make("stat", one.stat).st_nlink == 1
        assert sorted(calls.make("list", os.listdir, directory)) == ["one", "third"]
        for path in (one, third):
            calls.make("unlink", os.unlink, path)
        calls.make("rmdir", os.rmdir, directory)
        assert not calls.make("stat", directory.exists)

    def _check_sides(self, rounds: int) -> None:
        sides = [(self._root / name).read_text() for name in ("left", "right")]
        assert sides == ["left", "right"][:: -1 if rounds % 2 else 1], f"exchange {rounds}: {sides}"

    def check(self, made: Made) -> None:
        self._check_sides(made["rounds"])
        assert sorted(os.listdir(self._root)) == ["left", "log", "right"]
        lines = (self._root / "log").read_text().splitlines()
        assert lines == [f"{number}" for number in range(made["rounds"])], "lines of O_APPEND"


# ------------------------------------------------------------------ what was found


@dataclass(slots=True)
class Used:
    """What one program did; times in seconds."""

    calls: int = 0
    longest_stall: float = 0
    """See ``Calls.longest``."""
    longest_call: float = 0
    which: str = ""
    made: Made = field(default_factory=dict)
    failure: str = ""


@dataclass(slots=True)
class Found:
    """Times in seconds."""

    kills: int = 0
    upgrades: int = 0
    answered_after_kill: list[float] = field(default_factory=list)
    """From each SIGKILL until the mount replied."""
    answered_after_upgrade: list[float] = field(default_factory=list)
    """From the end of each daemon until the next one served."""
    programs: dict[str, Used] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """By program or step."""
    seconds: float = 0

    def attempt(self, what: str, step: Callable[[], object]) -> bool:
        """Whether a step succeeds; a failure is noted."""
        try:
            step()
        except FAILURES:
            self.failures[what] = traceback.format_exc()
            return False
        return True

    def summary(self) -> dict[str, object]:
        """What is printed at last."""
        medians = {
            f"median_{name}": round(statistics.median(values), 3)
            for name, values in (
                ("answered_after_kill", self.answered_after_kill),
                ("answered_after_upgrade", self.answered_after_upgrade),
            )
            if values
        }
        longest = max((used.longest_stall for used in self.programs.values()), default=0)
        return {**asdict(self), **medians, "longest_stall": longest, "wanted_longest_stall": 1}


class Running:
    """A program in a process, and a session, of its own."""

    def __init__(self, program: Program, report: Path, rest: float, until: Until) -> None:
        self.program = program
        self._report = report
        context = multiprocessing.get_context("fork")
        self.process: ForkProcess = context.Process(target=self._serve, args=(rest, until))
        self.process.start()

    def _serve(self, rest: float, until: Until) -> None:
        os.setsid()  # Ctrl-C is for the one that ends all of them
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        calls, used = Calls(rest), Used()
        try:
            used.made = self.program.work(calls, until)
        except FAILURES:
            used.failure = traceback.format_exc()
        used.calls = calls.number
        stall, call, used.which = calls.longest()
        used.longest_stall, used.longest_call = round(stall, 3), round(call, 3)
        self._report.write_text(json.dumps(asdict(used)))

    def result(self) -> Used:
        """Wait for its end."""
        self.process.join(LIMIT_S)
        if self.process.exitcode == 0:
            used = Used(**json.loads(self._report.read_text()))
            if not used.calls:
                used.failure = used.failure or "it made no call"
            return used
        how = self.process.exitcode
        return Used(
            failure=f"still in a call after {LIMIT_S:g} s" if how is None else f"ended {how}"
        )

    def end(self) -> None:
        """By force, with all that it started."""
        pid = self.process.pid
        if pid is not None and self.process.is_alive():
            for kill in (os.killpg, os.kill):
                with suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
            self.process.join(5)  # what waits for the mount ends when that is aborted


# ------------------------------------------------------------------ the run


@contextmanager
def limited(mount: Mount) -> Iterator[None]:
    """Abort the mount if what is done takes too long: a call that waits for it then fails."""
    timer = threading.Timer(LIMIT_S, mount.abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def kill(mount: Mount, found: Found) -> None:
    """SIGKILL; returns when the next daemon serves."""
    began = time.monotonic()
    before = mount.pid
    mount.kill()
    found.kills += 1
    os.statvfs(mount.path)
    found.answered_after_kill.append(round(time.monotonic() - began, 3))
    mount.pid = int(mount.status()["pid"])
    assert mount.pid != before, "the daemon that was killed serves"


def upgrade(mount: Mount, found: Found) -> None:
    """`tierfs upgrade`; returns when the new daemon serves."""
    done = json.loads(tierfs("upgrade", mount.path, "--json", timeout=LIMIT_S))
    assert done["from_pid"] == mount.pid, f"{done} from {mount.pid}"
    mount.pid = done["to_pid"]
    found.upgrades += 1
    found.answered_after_upgrade.append(done["stalled_s"])


def take_over(
    mount: Mount, running: Sequence[Running], given: argparse.Namespace, found: Found
) -> None:
    """Kill and upgrade at random moments, until all is done or a program fails."""
    chance = random.Random(given.seed)
    acts = [kill] * given.kills + [upgrade] * given.upgrades
    chance.shuffle(acts)
    quick = 0
    time.sleep(FIRST_S)
    for act in acts:
        rest = chance.uniform(LATE_S if quick >= MOST_QUICK else SOONEST_S, LATEST_S)
        if act is kill:
            quick = quick + 1 if rest < LATE_S else 0
        time.sleep(rest)
        if not all(each.process.is_alive() for each in running):
            return
        with limited(mount):
            act(mount, found)
    with limited(mount):
        restarts = mount.status()["supervisor"]["restarts"]
    assert restarts == len(acts), f"{restarts} takeovers: a daemon ended by itself"


def fill(mount: Mount, files: int, pages: int) -> None:
    """Make what is only read."""
    for name in ("loaded", "database", "repository", "unpacked", "once"):
        (mount.path / name).mkdir()
    for number in range(files):
        (mount.path / "loaded" / f"{number}").write_bytes(content(number, size_of(number)))
    with (mount.path / "large").open("wb") as large:
        for page in range(pages):
            large.write(content(page, mmap.PAGESIZE))


def measure(place: Stage, home: Path, given: argparse.Namespace, found: Found) -> None:
    """All of it, in the empty directory ``home``."""
    mount = Mount(home / "volume")
    place.later(mount.abort)
    pages = given.large * MIB // mmap.PAGESIZE
    mount.mount()
    fill(mount, given.files, pages)
    mount.remount("supervise")  # also so that nothing is cached
    supervisor = mount.status()["supervisor"]
    assert supervisor["takes_over"], supervisor["refusal"]
    tar = Tar(mount.path / "unpacked", home / "archive.tar")
    tar.make_archive(home / "archived")
    programs: list[Program] = [
        *(Loader(mount.path / "loaded", given.files, part) for part in range(LOADERS)),
        Mapper(mount.path / "large", pages),
        Database(mount.path / "database"),
        Git(mount.path / "repository"),
        tar,
        Once(mount.path / "once"),
    ]
    stop = multiprocessing.get_context("fork").Event()
    running: list[Running] = []
    for program in programs:
        report = home / f"{program.name}.json"
        running.append(Running(program, report, given.rest, stop.is_set))
        place.later(running[-1].end)
    found.attempt("takeover", lambda: take_over(mount, running, given, found))
    stop.set()
    for each in running:
        used = found.programs[each.program.name] = each.result()
        if used.failure:
            found.failures[each.program.name] = used.failure
        each.end()
    check(mount, programs, found)


def check(mount: Mount, programs: Sequence[Program], found: Found) -> None:
    """Mount again, have every program compare what it left, and check the volume."""

    def remount() -> None:
        with limited(mount):
            mount.remount()

    def unmount() -> None:
        with limited(mount):
            mount.unmount()

    if found.attempt("mount again", remount):
        for program in programs:
            used = found.programs[program.name]
            if not used.failure:
                found.attempt(f"{program.name}, afterwards", lambda: program.check(used.made))  # noqa: B023 - called at once
        found.attempt("unmount", unmount)
    if mount.is_mounted():
        mount.abort()
    found.attempt("fsck", lambda: tierfs("fsck", "--data", mount.volume_file, timeout=600))
    found.attempt("log", mount.log.check)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--upgrades", type=int, default=0)
    parser.add_argument("--files", type=int, default=400, help="that the data loader reads")
    parser.add_argument("--large", type=int, default=64, help="MiB of the file that is mapped")
    parser.add_argument("--rest", type=float, default=0.001, help="seconds after each call")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the moments")
    given = parser.parse_args()
    if given.kills + given.upgrades == 0:
        parser.error("--kills or --upgrades")
    return given


def main() -> None:
    """Do all of it, and print what was found."""
    given, found, began = parsed(), Found(), time.monotonic()
    with stage() as place:
        measure(place, place.directory(given.directory.absolute()), given, found)
    found.seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"seed": given.seed, **found.summary()}, indent=2))  # noqa: T201 - the result
    for what, why in found.failures.items():
        print(f"FAILED: {what}\n{why}", file=sys.stderr)  # noqa: T201 - likewise
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
