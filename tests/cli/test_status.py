from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tierfs.cli.main import main
from tierfs.cli.messages import aligned
from tierfs.common.errors import ExitCode

TIERING: dict[str, Any] = {
    "active": False,
    "flash_capacity": 2**40,
    "flash_used": 2**39,
    "high_watermark": 2**38,
    "low_watermark": 2**37,
    "waiting": {"evict": 0, "mirror": 0},
    "moving": 0,
    "moved": {},
    "copied": 0,
    "freed": 0,
    "failed": 0,
    "in_window": True,
    "suspended": False,
}

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
        "to_python": 14,
    },
    "head": 65536,
    "policy": None,
    "tiering": TIERING,
    "tiers": {
        "flash": {
            "directory": "/f",
            "read_only": False,
            "capacity": 2**40,
            "free": 2**39,
            "files": 12345,
            "bytes": 7,
        },
        "disk": {
            "directory": "/disk",
            "read_only": False,
            "capacity": 2**50,
            "free": 0,
            "files": 1,
            "bytes": 2**30,
        },
    },
    "index": {"path": "/f/index.db", "bytes": 1024, "inodes": 20000},
    "log": "/var/log/tierfs/x.log",
}

EPOCH = datetime.fromtimestamp(0).astimezone().isoformat(" ")

SHOWN = """\
health      ok
volume      /etc/images.yaml
UUID        00000000-0000-4000-8000-000000000001
mounted on  /mnt/images
daemon      process 4711, up 1 day, 2:03:04
options     rw,allow_other
fast path   12,000 inodes and 13,000 names in 3MiB of 128MiB
head        64KiB
policy      none
moves       none since the mount; 0B copied, 0B freed on flash, 0 failed
mover       0 under way, 0 waiting
index       /f/index.db, 1KiB, 20,000 inodes
log         /var/log/tierfs/x.log

tier   directory  capacity    free   files  bytes
flash  /f             1TiB  512GiB  12,345     7B
disk   /disk          1PiB      0B       1   1GiB
"""


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value=STATUS) as asked:
        assert main(["status", "/mnt/images"]) == 0
    asked.assert_called_once_with(Path("/mnt/images"), "status", seconds=5.3, wait=0.3)
    assert capsys.readouterr().out == SHOWN


def test_without_the_fast_path(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "fast_path": None}):
        assert main(["status", "/mnt/images"]) == 0
    assert "fast path   off\n" in capsys.readouterr().out


def test_a_read_only_mount_moves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "options": ["ro", "nodev"]}):
        assert main(["status", "/mnt/images"]) == 0
    said = capsys.readouterr().out
    assert "\nmover       nothing is moved: the mount is read-only\n" in said
    assert "\nmoves " not in said


def test_the_policy_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    policy = {"path": "/p.yaml", "since": 0, "by": "save", "rules": 2, "problems": None}
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "policy": policy}):
        assert main(["status", "/mnt/images"]) == 0
    assert f"policy      /p.yaml, in force since {EPOCH} (save)\n" in capsys.readouterr().out


def test_a_policy_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    problems = {"since": 0, "count": 5, "lines": ["/p.yaml:1:1: one", "/p.yaml:2:1: two"]}
    policy = {"path": "/p.yaml", "since": 0, "by": "mount", "rules": 2, "problems": problems}
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "policy": policy}):
        assert main(["status", "/mnt/images"]) == 0
    assert (
        f"""\
policy      /p.yaml, in force since {EPOCH} (mount)
            but the file is wrong since {EPOCH}:
            /p.yaml:1:1: one
            /p.yaml:2:1: two
            and 3 more; see the log
moves """
        in capsys.readouterr().out
    )


BUSY = {
    **TIERING,
    "active": True,
    "waiting": {"evict": 1000, "mirror": 234},
    "moving": 2,
    "moved": {"evict": 5678, "promote": 0, "mirror": 9},
    "copied": 3 * 2**20,
    "freed": 2**30,
    "failed": 4,
}


@pytest.mark.parametrize(
    ("changed", "mover"),
    [
        ({}, "2 under way, 1,234 waiting"),
        ({"in_window": False}, "waits for its window; 2 under way, 1,234 waiting"),
        (
            {"suspended": True, "in_window": False},
            "suspended, since too many moves failed; 2 under way, 1,234 waiting",
        ),
    ],
)
def test_what_the_mover_does(
    changed: dict[str, Any], mover: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {**STATUS, "tiering": {**BUSY, **changed}}
    with patch("tierfs.cli.status.ask", return_value=status):
        assert main(["status", "/mnt/images"]) == 0
    assert (
        f"""\
flash use   512GiB of 1TiB; evicts above 256GiB down to 128GiB
moves       evict 5,678, mirror 9 since the mount; 3MiB copied, 1GiB freed on flash, 4 failed
mover       {mover}
"""
        in capsys.readouterr().out
    )


def test_what_is_pinned_and_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    tiering = {
        **BUSY,
        "flash_files": 65536,
        "flash_files_used": 60000,
        "files_high_watermark": 55705,
        "files_low_watermark": 49152,
        "pinned": {"files": 12, "bytes": 3 * 2**30},
        "pinned_elsewhere": {"room": {"files": 10, "bytes": 2**30}},
        "misplaced": {
            "window": {"files": 2, "bytes": 2**20},
            "room": {"files": 10, "bytes": 2**30},
        },
    }
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "tiering": tiering}):
        assert main(["status", "/mnt/images"]) == 0
    said = capsys.readouterr().out
    assert "\n             60,000 of 65,536 inodes; evicts above 55,705 down to 49,152\n" in said
    assert "\npinned       12 files, 3GiB; 1GiB of it not on flash\n" in said
    assert "\nwaiting for  room 10 files, 1GiB; window 2 files, 1MiB\n" in said


@pytest.mark.parametrize(
    ("alone", "since", "shown"),
    [
        ({"files": 0, "bytes": 0}, None, "nothing"),
        ({"files": 1200, "bytes": 2**30}, None, "1,200 files, 1GiB"),
        ({"files": 1, "bytes": 5}, 0, f"1 files, 5B; the oldest was changed {EPOCH}"),
    ],
)
def test_what_a_dead_flash_would_cost(
    alone: dict[str, int], since: int | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {**STATUS, "flash_only": alone, "tiering": {**TIERING, "flash_only_since": since}}
    with patch("tierfs.cli.status.ask", return_value=status):
        assert main(["status", "/mnt/images"]) == 0
    assert f"\nonly on flash  {shown}\n" in capsys.readouterr().out


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("tierfs.cli.status.ask", return_value=STATUS):
        assert main(["status", "/mnt/images", "--json"]) == 0
    health = {"ok": True, "reasons": []}
    assert json.loads(capsys.readouterr().out) == {"health": health, **STATUS}


def test_what_does_not_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tiers = {name: {**tier, "capacity": None} for name, tier in STATUS["tiers"].items()}
    late = {
        "flash": {"age_s": None, "waiting_s": None, "error": "[Errno 5] Input/output error"},
        "disk": {"age_s": 12.5, "waiting_s": 3.0, "error": None},
    }
    more = {
        "tiers": tiers,
        "late": late,
        "tiering": None,
        "background": {"checkpoint": "OSError: no"},
        "metrics": {"listen": "[::1]:1", "serving": False, "error": "[::1]:1: in use"},
    }
    with patch("tierfs.cli.status.ask", return_value={**STATUS, **more}):
        assert main(["status", "/mnt/images"]) == 0
    said = capsys.readouterr().out
    assert "mover       ?\n" in said
    assert said.endswith(
        """
flash has failed: [Errno 5] Input/output error; no value is known
disk does not answer since 3 s; the value shown is 12.5 s old
in the background, checkpoint fails and is tried again: OSError: no
the metrics are not served: [::1]:1: in use; it is tried again
"""
    )


@pytest.mark.parametrize("verb", ["status", "umount"])
def test_what_is_not_mounted(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(tmp_path)]) == ExitCode.NOT_MOUNTED
    assert capsys.readouterr().err == f"tierfs: {tmp_path} is not a tierfs mountpoint\n"
    file = tmp_path / "images.yaml"
    file.touch()
    for path, hint in [
        (file, "; no mount was made of such a volume file"),
        (tmp_path / "none", "; there is no such directory"),
    ]:
        assert main(["status", str(path)]) == ExitCode.NOT_MOUNTED
        assert capsys.readouterr().err == f"tierfs: {path} is not a tierfs mountpoint{hint}\n"


def test_columns_are_aligned() -> None:
    assert aligned([("a", "bb", "1"), ("ccc", "d", "22")], numbers=1) == [
        "a    bb   1",
        "ccc  d   22",
    ]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"tiering": {**TIERING, "suspended": True}}, "the mover is suspended: too many moves"),
        ({"tiering": {**TIERING, "active": True}}, "flash is fuller than its high watermark"),
        (
            {"tiers": {**STATUS["tiers"], "disk": {**STATUS["tiers"]["disk"], "read_only": True}}},
            "disk is write-protected",
        ),
        ({"background": {"reclaim": "OSError: no"}}, "in the background, reclaim fails"),
    ],
)
def test_health_is_one_line(
    more: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch("tierfs.cli.status.ask", return_value={**STATUS, **more}):
        assert main(["status", "/mnt/images"]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert first.startswith(f"health      degraded: {reason}")
        assert main(["status", "/mnt/images", "--json"]) == 0
    health = json.loads(capsys.readouterr().out)["health"]
    assert not health["ok"]
    assert health["reasons"][0].startswith(reason)


def test_several_reasons_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tiering = {**TIERING, "active": True, "suspended": True}
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "tiering": tiering}):
        assert main(["status", "/mnt/images"]) == 0
    assert "; and 1 more, see below\n" in capsys.readouterr().out


def test_the_share_of_reads_from_flash(capsys: pytest.CaptureFixture[str]) -> None:
    read = {"flash": 3 * 2**30, "disk": 2**30}
    with patch("tierfs.cli.status.ask", return_value={**STATUS, "read_bytes": read}):
        assert main(["status", "/mnt/images"]) == 0
    assert "\nreads       75.0 % of 4GiB came from flash" in capsys.readouterr().out
