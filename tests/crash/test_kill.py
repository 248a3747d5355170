"""The daemon dies by SIGKILL while several processes write; nothing that succeeded is lost."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import writer
from tests.crash.journal import read_journal
from tests.crash.oracle import Oracle
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount
from tests.support.places import NativeDirectory, Place
from tests.support.proc import REPOSITORY, run, start, stop, wait_until

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("TIERFS_CRASH_KILLS", "5"))
TAKEOVERS = int(os.environ.get("TIERFS_CRASH_TAKEOVERS", "3"))
SEED = int(os.environ.get("TIERFS_CRASH_SEED", str(random.randrange(2**32))))
"""Chooses operations and moments; the failure message names it."""

WRITERS = 3
WARM_UP = 10
"""Operations that each writer has done before the moment of the kill is drawn."""

LONGEST_LOAD = 1.0
"""Seconds after which the daemon is killed at the latest."""


class Load:
    """Writers, each in its own folder of a place, and what that folder must look like."""

    def __init__(self, place: Place, home: Path) -> None:
        self._place = place
        self._home = home
        self._round = 0
        self._oracles = [Oracle(home / "oracle" / str(number)) for number in range(WRITERS)]
        for number in range(WRITERS):
            (place.path / str(number)).mkdir()

    def run_until(self, end: Callable[[], None]) -> None:
        """Let the writers write, call `end` at a random moment, and see them stop."""
        self._round += 1
        chance = random.Random(SEED + self._round)
        processes = [self._start(number, chance) for number in range(WRITERS)]
        try:
            wait_until(self._warm, what="every writer writes", timeout=30)
            time.sleep(chance.uniform(0, LONGEST_LOAD))
            end()
            if not isinstance(self._place, NativeDirectory):
                assert [ended(process) for process in processes] == [""] * WRITERS
        finally:
            for process in processes:
                stop(process)

    def check(self) -> None:
        """Compare every writer's folder with what its journal says."""
        for number, oracle in enumerate(self._oracles):
            actual = self._place.path / str(number)
            found = oracle.check(actual, self._journal(number))
            assert not found, f"seed {SEED}, round {self._round}:\n" + "\n".join(found)

    def _start(self, number: int, chance: random.Random) -> subprocess.Popen[str]:
        root, seed = self._place.path / str(number), str(chance.randrange(2**32))
        return start(
            [sys.executable, writer.__file__, root, self._journal(number), seed],
            env={"PYTHONPATH": str(REPOSITORY)},
        )

    def _journal(self, number: int) -> Path:
        return self._home / f"journal-{self._round}-{number}"

    def _warm(self) -> bool:
        finished = [len(read_journal(self._journal(number))[0]) for number in range(WRITERS)]
        return min(finished) >= WARM_UP


def ended(process: subprocess.Popen[str]) -> str:
    """What a writer complains about after the filesystem is gone; nothing is right."""
    return process.communicate(timeout=20)[1]


@pytest.mark.timeout(60 + 20 * KILLS)
def test_what_succeeded_survives_kills(place: Place, scratch: Path) -> None:
    load = Load(place, scratch)
    for _ in range(KILLS):
        load.run_until(place.kill)
        place.mount()
        load.check()


def test_what_succeeded_survives_a_clean_end_under_load(mounted: Mount, scratch: Path) -> None:
    load = Load(mounted, scratch)
    load.run_until(lambda: os.kill(mounted.pid, signal.SIGTERM))
    mounted.wait_for_daemon()
    mounted.mount()
    load.check()


@pytest.mark.once  # only the router can be taken over
def test_nothing_fails_while_daemons_take_over(make_mount: MakeMount, scratch: Path) -> None:
    """Each operation is done once, and succeeds, whatever it was in when its daemon was killed."""
    mount = make_mount.formatted()
    mount.mount("supervise")

    def killed_and_taken_over() -> None:
        for _ in range(TAKEOVERS):
            time.sleep(1.5)
            os.kill(mount.pid, signal.SIGKILL)
            os.statvfs(mount.path)  # the next one replies
            before, mount.pid = mount.pid, int(mount.status()["pid"])
            assert mount.pid != before
        os.kill(mount.pid, signal.SIGTERM)

    load = Load(mount, scratch)
    load.run_until(killed_and_taken_over)
    mount.wait_for_daemon()
    assert len(re.findall("took over", mount.log.text())) == TAKEOVERS
    mount.mount()
    load.check()


def test_nothing_is_left_of_removed_files(mounted: Mount, scratch: Path) -> None:
    load = Load(mounted, scratch)
    for _ in range(2):
        load.run_until(mounted.kill)
        mounted.mount()
    run(["sh", "-c", "rm -r *"], cwd=mounted.path)
    mounted.remount()
    assert objects(mounted) == []


def test_files_open_and_unlinked_at_the_crash_are_reaped(mounted: Mount) -> None:
    descriptor = os.open(mounted.path / "file", os.O_CREAT | os.O_RDWR)
    os.write(descriptor, b"x" * 2 * HEAD)
    (mounted.path / "file").unlink()
    assert os.pread(descriptor, 1, HEAD) == b"x"
    assert objects(mounted)
    mounted.kill()
    with contextlib.suppress(OSError):
        os.close(descriptor)
    mounted.mount()
    wait_until(lambda: objects(mounted) == [], what="the objects of the unlinked file go away")


def objects(mount: Mount) -> list[Path]:
    """Every object of a volume, on both tiers."""
    return [*mount.flash.glob("heads/*/*/*"), *mount.disk.glob("objects/*/*/*")]
