"""Set-user-ID goes with a write, and the kernel asks for nothing before it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.exporter import scrape
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount

USER = 1000
ASKED = ("getxattr", "getattr", "setattr")


def requests(mount: Mount) -> list[float]:
    """How many of each were answered."""
    return [
        sum(
            value
            for name, value in scrape(mount).items()
            if name.startswith("tierfs_requests_total") and f'operation="{operation}"' in name
        )
        for operation in ASKED
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is to write")
def test_a_write_takes_set_id_from_what_is_run_next(make_mount: MakeMount) -> None:
    """Nobody asks for attributes in between: the kernel must be told that the mode is another."""
    mount = make_mount()
    program = Path(shutil.copy(shutil.which("id") or "id", mount.path / "id"))
    program.chmod(0o4777)

    def run(*words: str) -> bytes:
        done = subprocess.run(words, user=USER, group=USER, capture_output=True, check=True)
        return done.stdout

    run("sh", "-c", 'printf x >> "$0"', os.fspath(program))
    assert run(os.fspath(program), "-u") == b"1000\n"


@pytest.mark.once
def test_a_write_asks_for_nothing_before_it(mounted: Mount) -> None:
    """Neither the mode nor security.capability (FUSE_HANDLE_KILLPRIV_V2, which pyfuse3 lacks)."""
    with (mounted.path / "file").open("ab", buffering=0) as file:
        file.write(b"first")
        before = requests(mounted)
        for _ in range(20):
            file.write(b"more")
        assert requests(mounted) == before
