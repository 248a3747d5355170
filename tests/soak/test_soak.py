"""No wrong byte and no error while everything changes, and flash does not stay too full."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.crew import Writer
from tests.soak.meddling import Meddler
from tests.soak.policies import HIGH, Politics
from tests.soak.watching import Watcher
from tests.support.filesystems import memory_filesystem
from tests.support.fixtures import MakeMount
from tests.support.fsck import assert_clean
from tests.support.mounting import Mount
from tests.support.proc import run, start, stop

pytestmark = pytest.mark.long

log = logging.getLogger(__name__)

SECONDS = float(os.environ.get("TIERFS_SOAK_SECONDS", "20"))
FLASH_MIB = 40
WRITERS, FILES = 3, 150
LONGEST_ABOVE_S = 15.0
"""Seconds: a tick, the copies of what is not mirrored, and a busy machine."""

FIO = ["--rw=randrw", "--bsrange=512-64k", "--nrfiles=8", "--size=16m", "--ioengine=psync"]
CHECKED = ["--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--randrepeat=0"]


@pytest.fixture
def mount(scratch: Path, make_mount: MakeMount) -> Iterator[Mount]:
    """A volume with a small flash, not mounted, that names a policy."""
    with memory_filesystem(scratch / "small-flash", FLASH_MIB) as flash:
        made = make_mount.formatted(flash=flash)
        made.configure("policy", json.dumps(str(scratch / "policy.yaml")))
        made.log.allow("siez")  # one of the policies is wrong, which the log says
        yield made
        made.close()


def fio(mount: Mount, number: int) -> list[str]:
    directory = mount.path / f"fio-{number}"
    directory.mkdir(exist_ok=True)
    return ["fio", *FIO, *CHECKED, f"--directory={directory}", f"--name=job-{number}"]


@pytest.mark.timeout(max(240, int(2 * SECONDS)))
def test_files_survive_everything_at_once(mount: Mount, scratch: Path) -> None:
    politics = Politics(scratch / "policy.yaml", SECONDS / 10)
    mount.mount()
    politics.pid = mount.pid
    watcher = Watcher(mount.flash, HIGH)
    writers = [Writer(mount.path / f"writer-{n}", n, FILES) for n in range(WRITERS)]
    meddler = Meddler(mount.path, 7)
    crew: list[Writer | Meddler] = [*writers, meddler]
    for thread in (politics, watcher, *crew):
        thread.start()
    rounds = verified_rounds(mount, time.monotonic() + SECONDS, crew)
    for one in crew:
        one.stop()
        one.join()
    politics.stop()
    seen = watcher.stop()
    report = (
        f"{rounds} rounds of fio, {[w.steps for w in writers]} steps, {meddler.done} requests, "
    )
    report += f"{politics.changes} policies, {seen}"
    log.info(report)
    assert [one.error for one in crew] == [None] * len(crew), report
    assert seen.longest_above < LONGEST_ABOVE_S, report
    settled(mount, writers)


def verified_rounds(mount: Mount, end: float, others: list[Writer | Meddler]) -> int:
    """Run fio, whose reads are verified, again and again; how often. Ends early on an error."""
    rounds = 0
    while time.monotonic() < end and not any(one.error for one in others):
        process = start(fio(mount, rounds % 2), cwd=mount.flash.parent)
        try:
            out, err = process.communicate(timeout=SECONDS + 120)
        finally:
            stop(process)
        assert process.returncode == 0, out[-2000:] + err[-2000:]
        rounds += 1
    return rounds


def settled(mount: Mount, writers: list[Writer]) -> None:
    """Everything is there, now, for a check of the volume, and after the next mount."""
    for writer in writers:
        writer.verify_all()
    mount.unmount()
    assert_clean(mount.volume_file)
    mount.mount()
    for writer in writers:
        writer.verify_all()
    run(["sync", "-f", mount.path])
