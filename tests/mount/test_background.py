"""Work in the background may fail, by the system's fault or by ours: the mount lives on."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.guards.logs import ExpectLog
from tierfs.common.errors import FsError
from tierfs.common.metrics import Metrics
from tierfs.daemon.background import MAX_PAUSE_S, BackgroundTasks
from tierfs.daemon.logs import start_logging
from tierfs.policy.volume_file import LogSettings

pytestmark = pytest.mark.once

FAILURES = (OSError(errno.EIO, os.strerror(errno.EIO)), FsError(errno.EIO), KeyError("a bug"))


def failures(metrics: Metrics, task: str) -> float:
    return (
        metrics.registry.get_sample_value("tierfs_background_failures_total", {"task": task}) or 0.0
    )


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_task_that_fails_is_begun_again(error: Exception, expect_log: ExpectLog) -> None:
    expect_log("in the background, probe: ")
    metrics = Metrics()
    background = BackgroundTasks(metrics)
    begun = []

    async def probe() -> None:
        begun.append(trio.current_time())
        if len(begun) < 4:
            raise error
        assert "probe" in background.failing

    trio.run(background.keep, "probe", probe, clock=MockClock(autojump_threshold=0))
    assert failures(metrics, "probe") == 3
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    assert pauses == pytest.approx([1, 2, 4])


def test_a_step_that_works_again_is_no_longer_failing(expect_log: ExpectLog) -> None:
    expect_log("in the background, probe: ")
    background = BackgroundTasks(Metrics())
    seen: list[dict[str, str]] = []

    async def step() -> None:
        seen.append(background.failing)
        if len(seen) < 12:
            raise OSError(errno.EIO, "gone")

    async def run() -> None:
        with trio.move_on_after(20 * MAX_PAUSE_S):
            await background.every(1, "probe", step)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    assert seen[1] == {"probe": "OSError: [Errno 5] gone"}
    assert seen[-1] == {}
    assert len(seen) > 60, "what works again is done as often as before"


def test_a_log_whose_filesystem_fails_does_not_fail_who_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        start_logging(LogSettings("text", "info", tmp_path / "log"))

        def fail(*_: object, **__: object) -> os.stat_result:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "stat", fail)
        logging.getLogger("tierfs.test").info("lost")
        monkeypatch.undo()
        logging.getLogger("tierfs.test").info("kept")
    finally:
        for handler in root.handlers[:]:
            if handler not in before:
                root.removeHandler(handler)
                handler.close()
        root.handlers[:] = before
        root.setLevel(level)
    assert (tmp_path / "log").read_text().endswith("kept\n")
