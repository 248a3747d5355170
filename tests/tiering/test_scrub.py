"""Passes of the scrub on a real volume: how far they are, what they leave out, when they begin."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.fs.damaging import any_byte, flip
from tests.fs.scenarios import FILES, contents, populate
from tests.guards.logs import ExpectLog
from tests.support.proc import wait_until
from tests.support.volumes import LooseVolume
from tests.tiering.fake_world import START
from tierfs.common.errors import UsageError
from tierfs.common.units import DAY
from tierfs.metadata.checksums import ScrubProgress
from tierfs.metadata.index import IndexCatalog
from tierfs.tiering import scrub as module
from tierfs.tiering.scrub import Scrub, ScrubPorts


class FakeLimits:
    """A mover that lets the scrub do what a test says."""

    def __init__(self) -> None:
        self.open = True
        self.suspended = False
        self.taken = self.operations = 0

    def delay(self, nbytes: int, operations: int = 0) -> float:
        self.taken += nbytes
        self.operations += operations
        return 0.0

    def in_window(self) -> bool:
        return self.open

    def is_suspended(self) -> bool:
        return self.suspended


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and do not rest."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_REST_S", 0.0)
    monkeypatch.setattr(module, "LEFT_ALONE_S", 0.0)
    monkeypatch.setattr(module, "STORE_EVERY_S", 0.0)


@pytest.fixture
def full(small: LooseVolume) -> LooseVolume:
    small.clock.now = START
    populate(small)
    small.fs.syncer.checkpoint()
    return small


@contextmanager
def scrubbing(
    volume: LooseVolume, limits: FakeLimits | None = None, interval: int | None = None
) -> Iterator[Scrub]:
    """A scrub whose thread runs inside the block."""
    with closing(IndexCatalog(volume.index)) as catalog:
        ports = ScrubPorts(
            volume.fs.verifier, volume.index, catalog, limits or FakeLimits(), volume.clock
        )
        scrub = Scrub(ports, interval, volume.metrics)
        thread = threading.Thread(target=scrub.run)
        thread.start()
        try:
            yield scrub
        finally:
            scrub.close()
            thread.join()


def complete(scrub: Scrub) -> dict[str, object]:
    wait_until(lambda: scrub.status()["state"] == "idle", what="the scrub is complete")
    return scrub.status()


def gauge(volume: LooseVolume, name: str) -> float | None:
    return volume.metrics.registry.get_sample_value(f"tierfs_{name}")


def test_a_pass_verifies_every_file(full: LooseVolume) -> None:
    limits = FakeLimits()
    with scrubbing(full, limits) as scrub:
        assert scrub.status()["verified_since"] is None
        began = scrub.start()["began"]
        full.clock.tick()
        status = complete(scrub)
        wait_until(
            lambda: gauge(full, "verified_since_timestamp_seconds") == began, what="the gauge"
        )
    assert status["verified_since"] == began
    assert (status["files"], status["skipped"], status["lost_files"]) == (len(FILES) + 1, 0, 0)
    assert limits.operations == len(FILES) + 1
    assert limits.taken == status["bytes"] == sum(map(len, FILES.values())) + 9000
    assert gauge(full, "verified_bytes_total") == status["bytes"]


def test_what_is_wrong_is_found_and_named(full: LooseVolume, expect_log: ExpectLog) -> None:
    expect_log("no copy has them right")
    with scrubbing(full) as scrub:
        scrub.start()
        complete(scrub)
        place = any_byte(full, full.find(b"large"), random.Random(1))
        flip(place.path, place.offset)
        scrub.start()
        status = complete(scrub)
        wait_until(lambda: gauge(full, "lost_files") == 1, what="the gauge")
    assert (status["lost"], status["lost_files"]) == (1, 1)
    assert status["lost_paths"] == [f"inode {full.find(b'large').ino}"]


def test_a_pass_continues_after_a_remount(full: LooseVolume) -> None:
    limits = FakeLimits()
    limits.open = False
    with scrubbing(full, limits) as scrub:
        began = scrub.start()["began"]
    full.reopen()
    with full.index.transaction():
        middle = full.index.checksums.progress()._replace(position=full.find(b"large").ino)
        full.index.checksums.set_progress(middle)
    full.clock.tick()
    with scrubbing(full, limits) as scrub:
        assert scrub.status()["began"] == began
        limits.open = True
        status = complete(scrub)
    assert status["verified_since"] == began
    assert status["files"] == 2  # those behind


def test_a_pause_holds_over_remounts(full: LooseVolume) -> None:
    limits = FakeLimits()
    limits.open = False
    with scrubbing(full, limits) as scrub:
        scrub.start()
        assert scrub.pause()["state"] == "paused"
    full.reopen()
    with scrubbing(full) as scrub:
        assert scrub.status()["state"] == "paused"
        assert scrub.status()["next"] is None
        scrub.start()
        complete(scrub)


def test_a_pause_ends_a_read_that_is_under_way(full: LooseVolume) -> None:
    reading = threading.Event()

    class Slow(FakeLimits):
        def delay(self, nbytes: int, operations: int = 0) -> float:
            reading.set()
            return super().delay(nbytes, operations) + 3600.0 * (nbytes > 0)

    with scrubbing(full, Slow()) as scrub:
        scrub.start()
        assert reading.wait(10)
        assert scrub.pause()["state"] == "paused"
        small = full.find(b"small").ino
        wait_until(lambda: not full.fs.verifier._migrations.holds(small), what="it lets go")
    assert full.index.checksums.progress().files == 0


@pytest.mark.parametrize("what", ["window", "suspension"])
def test_it_works_when_the_mover_may(full: LooseVolume, what: str) -> None:
    limits = FakeLimits()
    limits.open, limits.suspended = what != "window", what == "suspension"
    with scrubbing(full, limits) as scrub:
        scrub.start()
        assert scrub.status()["state"] == "running"
        limits.open, limits.suspended = True, False
        complete(scrub)


def test_a_file_that_changes_is_looked_at_again(
    full: LooseVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEFT_ALONE_S", 0.2)
    full.fs.data.write(full.find(b"large").ino, 0, b"new")
    with scrubbing(full) as scrub:
        scrub.start()
        wait_until(lambda: scrub.status()["skipped"] == 1, what="the file is skipped")
        full.fs.syncer.checkpoint()
        assert complete(scrub)["skipped"] == 0
    full.fs.data.write(full.find(b"large").ino, 0, b"new")
    with scrubbing(full) as scrub:
        scrub.start()
        assert complete(scrub)["skipped"] == 1


def test_a_pass_begins_an_interval_after_the_last(full: LooseVolume) -> None:
    with scrubbing(full, interval=DAY) as scrub:
        wait_until(lambda: scrub.status()["next"] is not None, what="the first look")
        assert scrub.status()["next"] == (full.clock.now + DAY) / 10**9
        full.clock.now += DAY
        wait_until(lambda: scrub.status()["verified_since"], what="a pass of its own")
        assert scrub.status()["verified_since"] == full.clock.now / 10**9


def test_without_an_interval_none_begins(full: LooseVolume) -> None:
    with scrubbing(full) as scrub:
        full.clock.now += 1000 * DAY
        wait_until(lambda: full.index.checksums.progress().began > 0, what="the first look")
        assert scrub.status()["next"] is None
        assert scrub.status()["state"] == "idle"


def test_nothing_is_done_on_a_read_only_mount(full: LooseVolume) -> None:
    full.close()
    full.read_only = True
    full.open()
    with scrubbing(full, interval=1) as scrub:
        with pytest.raises(UsageError, match="read-only"):
            scrub.start()
        assert scrub.pause()["state"] == "idle"
    assert full.index.checksums.progress() == ScrubProgress()
    assert contents(full)[b"large"] == FILES[b"large"]
