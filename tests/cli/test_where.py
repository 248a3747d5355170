"""What tierfs where prints; no mount is needed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.fake_mount import END, FakeMount
from tests.cli.manual import LARGE, SMALL, Captured, stdin
from tierfs.common.extents import WHOLE_FILE

TABLE = """\
    size  on flash   on disk  where  mirrored  pinned until          requested  waits        path
    1MiB     64KiB    960KiB  split  no        no end                -          room stuck   {large}
   10KiB        0B     10KiB  disk   yes       2030-03-17T23:46:40Z  all        -            {small}
 1034KiB     64KiB    970KiB                                                                 2 files
"""


def test_where_for_people(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.pins = {large: b"1", small: b"6h"}
    fake.prefixes[small] = 0
    fake.requests[small] = WHOLE_FILE
    fake.waits[large] = b"room stuck"
    done = Captured(capsys, "where", large, small)
    assert done.code == 0
    assert done.out == TABLE.format(large=tree / "in/large", small=tree / "small")
    fake.requests[small] = 0
    assert "  none  " in Captured(capsys, "where", small).out


def test_where_for_programs(
    fake: FakeMount, tree: Path, small: bytes, large: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.pins[small] = b"6h"
    fake.requests[large] = WHOLE_FILE
    fake.waits[large] = b"window"
    done = Captured(capsys, "where", "--json", "-r", tree)
    assert sorted(json.loads(done.out), key=lambda one: one["size"]) == [
        {
            "path": str(tree / "small"),
            "size": SMALL,
            "flash": SMALL,
            "disk": 0,
            "location": "flash",
            "prefix": "65536",
            "mirrored": False,
            "pinned": True,
            "pinned_until": END.decode(),
            "pinned_by": None,
            "requested": None,
            "waits": None,
            "stuck": False,
        },
        {
            "path": str(tree / "in/large"),
            "size": LARGE,
            "flash": 65536,
            "disk": LARGE - 65536,
            "location": "split",
            "prefix": "65536",
            "mirrored": False,
            "pinned": False,
            "pinned_until": None,
            "pinned_by": None,
            "requested": "all",
            "waits": "window",
            "stuck": False,
        },
    ]


@pytest.mark.usefixtures("fake")
def test_where_finds_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Captured(capsys, "where", tree / "none")
    assert (done.code, done.out) == (1, "")
    done = Captured(capsys, "where", "--json", tree / "none")
    assert (done.code, json.loads(done.out)) == (1, [])


def test_names_of_any_bytes(
    fake: FakeMount, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsencode(tree) + b"/line\nbreak \xff"
    Path(os.fsdecode(odd)).touch()
    with stdin(odd + b"\0"):
        done = Captured(capsys, "where", "-0", "-")
    assert done.out.endswith(r"/line\nbreak \xff" + "\n")
    assert Captured(capsys, "pin", odd).code == 0
    assert fake.pins.keys() == {odd}
    assert json.loads(Captured(capsys, "where", "--json", odd).out)[0]["pinned"]
