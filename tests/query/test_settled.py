"""Answers of one moment are made again on a copy if the index was written to meanwhile."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.volumes import LooseVolume
from tierfs.common.errors import UsageError
from tierfs.daemon.finding import Finding
from tierfs.fs.checkpoint import INTERVAL_S
from tierfs.fs.namespace import ROOT_OWNER
from tierfs.metadata.inodes import ROOT
from tierfs.query import find
from tierfs.query.find import FindRequest
from tierfs.query.settled import Rows, of_one_moment

pytestmark = pytest.mark.once


def make(volume: LooseVolume, name: bytes) -> None:
    volume.fs.names.make(ROOT, name, 0o100644, ROOT_OWNER)


@pytest.mark.parametrize("written", [False, True])
def test_what_is_sent_is_of_one_moment(written: bool, small: LooseVolume) -> None:  # noqa: FBT001 - of pytest
    make(small, b"first")
    descriptor = small.index.checkpoint_for_snapshot()
    request = FindRequest(small.index.path, 0, "type = file")
    asked: list[Path] = []

    def answer(index: Path, counters: int, rows: Rows) -> int:
        asked.append(index)
        found = find.answer(request, index, counters, rows.add)["rows"]
        if written and len(asked) == 1:
            make(small, b"second")
            small.index.checkpoint_for_snapshot()
        return int(found)

    sent: list[bytes] = []
    total = of_one_moment(small.index.path, descriptor, answer, sent.append)
    lines = [row for line in b"".join(sent).splitlines() for row in json.loads(line)]
    assert lines == ([["/first"], ["/second"]] if written else [["/first"]])
    assert total == len(lines)
    assert len(asked) == 1 + written
    assert not any(copy.exists() for copy in asked[1:])


def test_a_mistake_is_raised_and_nothing_is_sent(small: LooseVolume) -> None:
    descriptor = small.index.checkpoint_for_snapshot()

    def answer(_index: Path, _counters: int, rows: Rows) -> None:
        rows.add([["half"]])
        raise UsageError("wrong")

    sent: list[bytes] = []
    with pytest.raises(UsageError, match="wrong"):
        of_one_moment(small.index.path, descriptor, answer, sent.append)
    assert sent == []


def test_a_checkpoint_comes_before_an_answer_of_one_moment_and_not_into_it(
    small: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(small, b"first")
    later = time.monotonic() + INTERVAL_S + 1
    monkeypatch.setattr(small.volume.checkpoints, "_monotonic", lambda: later)
    assert small.volume.checkpoints.is_due()
    engine = SimpleNamespace(heat_capacity=64, stopping=False)
    finding = Finding(small.volume, engine)  # type: ignore[arg-type]
    ours, theirs = socket.socketpair()
    with ours, theirs, closing(finding):
        answer = finding.find(
            theirs.fileno(),
            "type = file",
            ROOT,
            ["path"],
            "",
            "",
            0,
            descending=False,
            count=False,
            explain=False,
            consistent=True,
        )
        assert json.loads(ours.recv(1000)) == [["/first"]]
    assert answer == {"rows": 1}
    assert not small.volume.checkpoints.is_due()
