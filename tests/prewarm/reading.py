"""What the tests of warm mounts do: make files, run the command, read, count requests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.exporter import scrape
from tests.support.mounting import HEAD, Mount
from tests.support.proc import REPOSITORY
from tierfs.cli.main import main

SMALL, LARGE = 20_000, HEAD + 50_000
"""Bytes: a file that is all head, and one with a tail."""


def make_files(folder: Path) -> list[Path]:
    """Twenty files, five of them with a tail."""
    folder.mkdir()
    files = [folder / f"file-{number}" for number in range(20)]
    for number, file in enumerate(files):
        file.write_bytes(b"x" * (LARGE if number % 4 == 0 else SMALL))
    return files


def warm(*arguments: str | Path, statuses: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """What `tierfs warm --json` says; in this process, so that it takes but a moment."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main(["warm", "--json", *map(str, arguments)])
    assert status in statuses
    record = json.loads(output.getvalue())
    assert isinstance(record, dict)
    return record


def warm_list(data: bytes, *options: str) -> dict[str, Any]:
    """The same for a list on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "tierfs", "warm", "--json", *options, "-"],
        input=data,
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=True,
    )
    record = json.loads(done.stdout)
    assert isinstance(record, dict)
    return record


def read_all(files: list[Path]) -> None:
    """An epoch: every file, as a data loader reads it."""
    for file in files:
        with file.open("rb") as opened:
            assert len(opened.read()) == os.fstat(opened.fileno()).st_size


class Requests:
    """Counts the requests that the daemon has answered since it was made."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._before = self._count()

    def since(self) -> Counter[str]:
        """By operation."""
        return self._count() - self._before

    def _count(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for name, value in scrape(self._mount).items():
            if name.startswith("tierfs_requests_total{"):
                counts[name.partition('operation="')[2].partition('"')[0]] += int(value)
        return counts
