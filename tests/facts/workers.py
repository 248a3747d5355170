"""Worker processes of tests: with the extractors of tierfs, or with others that go wrong."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from tests.support.proc import REPOSITORY
from tierfs.facts.process import MODULE, Answer, Bounds, WorkerProcess

HEAD = 64 * 1024

WRONG = """
    import ctypes, os, socket, time
    from tierfs.facts.extractor import Extractor

    def loop(source):
        while True:
            pass

    def sleep(source):
        time.sleep(1000)

    def bomb(source):
        return {"wrong.size": len(b"x" * (3 << 30))}

    def crash(source):
        ctypes.string_at(0)

    def leave(source):
        os._exit(3)

    def refuses(function):
        def extract(source):
            try:
                function(source)
            except OSError as error:
                return {"wrong.errno": error.errno}
            return {"wrong.errno": 0}
        return extract

    def many(source):
        return {f"wrong.f{number}": 1 for number in range(1000)}

    def liar(source):
        return {"wrong.list": [1, 2]}

    def behind(source):
        return {"wrong.size": len(source._ask(source.size, 1))}

    def greedy(source):
        for block in range(source.size // 65536):
            source.read(block * 65536, 65536)
        return {"wrong.size": source.size}

    def identity(source):
        return {"wrong.uid": os.geteuid(), "wrong.gid": os.getegid(), "wrong.descriptors":
            sum(1 for number in range(64) if is_open(number))}

    def is_open(number):
        try:
            os.fstat(number)
        except OSError:
            return False
        return True

    def fine(source):
        return {"wrong.size": source.size}

    ALL = {
        b"LOOP": loop, b"SLEP": sleep, b"BOMB": bomb, b"CRSH": crash, b"EXIT": leave,
        b"OPEN": refuses(lambda source: os.open("/etc/passwd", os.O_RDONLY)),
        b"SOCK": refuses(lambda source: socket.socket()),
        b"FORK": refuses(lambda source: os.fork()),
        b"EXEC": refuses(lambda source: os.execv("/bin/true", ["true"])),
        b"KILL": refuses(lambda source: os.kill(os.getppid(), 0)),
        b"MANY": many, b"LIAR": liar, b"BHND": behind, b"GRDY": greedy, b"IDNT": identity,
        b"FINE": fine,
    }

    def recognises(head):
        return head[:4] in ALL

    def extract(source):
        return ALL[source.head[:4]](source)

    EXTRACTOR = Extractor("wrong", %d, {}, recognises, extract)
"""
"""A module with an extractor for files whose first four bytes say what it does."""


class WorkerMaker:
    """Makes the daemon's side of worker processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[WorkerProcess] = []

    def __call__(self, *, wrong: int = 0, bounds: Bounds | None = None) -> WorkerProcess:
        """``wrong``: the version of the extractor that goes wrong; 0: there is none."""
        words = [sys.executable, "-P", "-m", MODULE]
        paths = [str(REPOSITORY)]
        if wrong:
            paths.insert(0, str(self.package(wrong)))
        made = WorkerProcess(["/usr/bin/env", f"PYTHONPATH={':'.join(paths)}", *words], bounds)
        self._made.append(made)
        return made

    def close(self) -> None:
        for each in self._made:
            each.close()

    def package(self, version: int) -> Path:
        """A directory with the extractor that goes wrong, as a package that is installed."""
        home = self._directory / f"packages-{version}"
        info = home / f"wrong-{version}.dist-info"
        if not info.exists():
            info.mkdir(parents=True)
            (home / "wrong_facts.py").write_text(textwrap.dedent(WRONG % version))
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: wrong\nVersion: {version}\n"
            )
            (info / "entry_points.txt").write_text(
                "[tierfs.facts]\nwrong = wrong_facts:EXTRACTOR\n"
            )
        return home


def ask(worker: WorkerProcess, data: bytes) -> Answer:
    """What a worker says of a file with these bytes."""
    return worker.extract(
        len(data), data[:HEAD], lambda offset, length: data[offset : offset + length]
    )
