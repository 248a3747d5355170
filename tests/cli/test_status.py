from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tierfs.base.errors import ExitCode
from tierfs.cli.main import main
from tierfs.cli.status import aligned

STATUS: dict[str, Any] = {
    "volume": "/etc/images.yaml",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "mountpoint": "/mnt/images",
    "pid": 4711,
    "uptime_s": 93784.5,
    "options": ["rw", "allow_other"],
    "fast_path": {
        "memory": 3 * 2**20,
        "memory_limit": 2**27,
        "inodes": 12000,
        "names": 13000,
        "passed_on": 14,
    },
    "head": 65536,
    "tiers": {
        "flash": {"directory": "/f", "capacity": 2**40, "free": 2**39, "files": 12345, "bytes": 7},
        "disk": {"directory": "/disk", "capacity": 2**50, "free": 0, "files": 1, "bytes": 2**30},
    },
    "index": {"path": "/f/index.db", "bytes": 1024, "inodes": 20000},
    "log": "/var/log/tierfs/x.log",
}

SHOWN = """\
volume      /etc/images.yaml
UUID        00000000-0000-4000-8000-000000000001
mounted on  /mnt/images
daemon      process 4711, up 1 day, 2:03:04
options     rw,allow_other
fast path   12,000 inodes and 13,000 names in 3MiB of 128MiB
head        64KiB
index       /f/index.db, 1KiB, 20,000 inodes
log         /var/log/tierfs/x.log

tier   directory  capacity    free   files  bytes
flash  /f             1TiB  512GiB  12,345     7B
disk   /disk          1PiB      0B       1   1GiB
"""


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value=STATUS) as asked:
        assert main(["status", "/mnt/images"]) == 0
    asked.assert_called_once_with(Path("/mnt/images"), "status")
    assert capsys.readouterr().out == SHOWN


def test_without_the_fast_path(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "fast_path": None}):
        assert main(["status", "/mnt/images"]) == 0
    assert "fast path   off\n" in capsys.readouterr().out


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value=STATUS):
        assert main(["status", "/mnt/images", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


@pytest.mark.parametrize("verb", ["status", "umount"])
def test_what_is_not_mounted(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(tmp_path)]) == ExitCode.NOT_MOUNTED
    assert capsys.readouterr().err == f"tierfs: {tmp_path} is not a tierfs mountpoint\n"


def test_columns_are_aligned() -> None:
    assert aligned([("a", "bb", "1"), ("ccc", "d", "22")], numbers=1) == [
        "a    bb   1",
        "ccc  d   22",
    ]
