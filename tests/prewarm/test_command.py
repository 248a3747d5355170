from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tierfs.cli.main import main
from tierfs.cli.warm import record, summary
from tierfs.common.errors import ExitCode
from tierfs.prewarm.counts import SHOWN, Counts, PartCounts

COUNTS = Counts(
    found=12_345,
    directories=3,
    files=12_344,
    warm_names=12_344,
    head=PartCounts(12_000, 11_999, 1024**3, 1024**2),
    tail=PartCounts(5, 0, 1024**2, 0),
)
SHOWN_COUNTS = """\
           files    warm  bytes  warm
metadata  12,344  12,344
heads     12,000  11,999   1GiB  1MiB
tails          5       0   1MiB    0B
12,344 files and 3 directories in 2.0 s, 6,172 files a second
skipped: 2 symbolic links
errors: 11
"""


def test_a_table_for_people() -> None:
    counts = Counts(**{name: getattr(COUNTS, name) for name in Counts.__slots__ if name[0] != "_"})
    counts.skipped["symbolic links"] = 2
    for number in range(SHOWN + 1):
        counts.fail(b"/mnt/\xff\n%d" % number, "Input/output error")
    lines = summary(counts, 2.0)
    assert "\n".join(lines).startswith(SHOWN_COUNTS)
    assert lines[-SHOWN - 1] == r"  /mnt/\xff\n0: Input/output error"
    assert lines[-1] == "  and 1 more"


def test_json_for_programs() -> None:
    counts = Counts(
        files=1, warm_names=1, head=PartCounts(1, 1, 10, 10), tail=PartCounts(1, 0, 5, 0)
    )
    counts.fail(b"\xff", "no")
    assert record(counts, 0.12345, tails=False) == {
        "warm": False,
        "interrupted": False,
        "seconds": 0.123,
        "directories": 0,
        "metadata": {"files": 1, "warm_files": 1},
        "heads": {"files": 1, "warm_files": 1, "bytes": 10, "warm_bytes": 10},
        "tails": {"files": 1, "warm_files": 0, "bytes": 5, "warm_bytes": 0},
        "skipped": {},
        "errors": 1,
        "problems": [{"path": os.fsdecode(b"\xff"), "reason": "no"}],
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name files or directories"),
        (["-0", "/mnt"], "-0 is about the list"),
        (["--jobs", "0", "/mnt"], "0 is not in the range"),
    ],
)
def test_words_that_make_no_sense(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warm", *words]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_what_is_not_mounted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", str(tmp_path)]) == ExitCode.NOT_MOUNTED
    assert capsys.readouterr().err == f"tierfs: {tmp_path} is not in a tierfs mount\n"


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_list_of_files_of_a_volume_that_is_not_mounted(
    check: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or ``tierfs warm --check - < list && train`` would go ahead."""
    (tmp_path / "below the mountpoint").touch()
    names = os.fsencode(tmp_path / "below the mountpoint") + b"\n"
    with patch("tierfs.cli.files._read_input", iter([names, b""]).__next__):
        assert main(["warm", *check, "-"]) == ExitCode.NOT_MOUNTED
    assert "below the mountpoint: is not in a tierfs mount" in capsys.readouterr().out
