"""Which files are looked at: quiet ones that the feed tells of, and those of a pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.fs.calls import make
from tests.fs.migrating import must, place
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.units import SECOND
from tierfs.facts import gathering
from tierfs.facts.extractor import Identity
from tierfs.facts.gathering import (
    READER,
    SHARE_ALONE,
    SHARE_BESIDE,
    STORE_EVERY_S,
    Gathering,
    GatheringPorts,
    Spent,
    rest_after,
)
from tierfs.facts.process import Answer, WorkerFailed, WorkerProcess
from tierfs.metadata.header_facts import LOOKED_AT
from tierfs.metadata.reader import IndexReader

QUIET = 60


class FakeWorker(WorkerProcess):
    """Says of a file how long it is, and what its first bytes are."""

    def __init__(self) -> None:
        super().__init__([])
        self.seen: list[bytes] = []
        self.version = 1
        self.broken = False
        self.meanwhile: Callable[[], object] = lambda: None

    def start(self) -> None:
        if self.broken:
            raise WorkerFailed("broken")
        self.identities = [Identity("fake", self.version)]

    def extract(self, size: int, head: bytes, read: Callable[[int, int], bytes]) -> Answer:
        self.start()
        self.seen.append(head[:10])
        self.meanwhile()
        if head.startswith(b"bad"):
            return Answer(self.nothing, {}, "bad")
        if not head.startswith(b"known"):
            return Answer(self.nothing, {})
        end = read(size - 1, 1) if size > len(head) else head[-1:]
        return Answer(Identity("fake", self.version), {"file.size": size, "file.end": end[0]})


class Limits:
    """A mover that has time, or none."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.open = True
        self.looked = threading.Event()

    def delay(self, nbytes: int, operations: int = 0) -> float:  # noqa: ARG002 - as the mover has it
        self.asked.append(nbytes)
        return 0.0

    def in_window(self) -> bool:
        self.looked.set()
        return self.open

    def is_suspended(self) -> bool:
        return False


class World:
    """A volume whose files a fake worker looks at, step by step, at a time of the test's own."""

    def __init__(self, volume: LooseVolume) -> None:
        self.volume = volume
        self.now = 1000.0
        self.worker, self.limits = FakeWorker(), Limits()
        self.begin()

    def begin(self) -> None:
        """Begin, as a mount does."""
        index = self.volume.index
        self.catalog = IndexReader(index.path, prepare=index.store_deferred)
        ports = GatheringPorts(
            self.volume.fs,
            index,
            self.catalog,
            self.limits,
            self.worker,
            self.volume.clock,
            lambda: self.now,
        )
        self.gathering = Gathering(ports, QUIET * SECOND, self.volume.metrics)
        self.gathering._rest = lambda seconds: None  # type: ignore[method-assign] # noqa: ARG005

    def end(self) -> None:
        """End, as an unmount does."""
        self.gathering.close()
        self.catalog.close()

    def restart(self) -> None:
        """Unmount and mount."""
        self.end()
        self.volume.reopen()
        self.worker.seen.clear()
        self.worker.identities = []
        self.begin()

    def write(self, name: bytes, data: bytes) -> int:
        """Make a file and settle it."""
        ino = make(self.volume, name).ino
        self.volume.fs.data.write(ino, 0, data)
        self.settle()
        return ino

    def settle(self) -> None:
        self.volume.fs.syncer.checkpoint()

    def wait(self, seconds: float) -> None:
        """Do all that is due, let time pass, and do what is due then."""
        for passed in (0, seconds):
            self.now += passed
            self.volume.clock.tick()
            while self.gathering._step():
                pass

    def fact(self, ino: int, key: str = "file.size") -> object:
        index = self.volume.index
        return index.header_facts.find(ino, index.inodes.get(ino).version, key)

    def errors(self) -> list[tuple[str, str]]:
        return [(each["path"], each["error"]) for each in self.gathering.errors(0)["errors"]]


@pytest.fixture
def world(small: LooseVolume) -> Iterator[World]:
    made = World(small)
    made.wait(0)
    yield made
    made.end()


@pytest.mark.parametrize(("others", "share"), [(0.0001, SHARE_ALONE), (0.01, SHARE_BESIDE)])
def test_it_rests_longer_while_the_daemon_serves_requests(others: float, share: float) -> None:
    before = Spent(time=7.0, by_thread=3.0, by_process=4.0)
    now = Spent(time=7.1, by_thread=3.002, by_process=4.002 + others)
    assert rest_after(before, now) == pytest.approx(0.002 / share)


def test_a_file_is_looked_at_when_it_was_left_alone(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.wait(QUIET - 30)
    assert world.fact(ino) is None
    world.wait(40)
    assert world.fact(ino) == 9
    assert world.worker.seen == [b"known one"]


def test_a_change_begins_the_wait_anew_and_a_second_look_replaces_the_facts(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.wait(50)
    world.volume.fs.data.write(ino, 9, b" more")
    world.settle()
    world.wait(50)
    assert world.fact(ino) is None
    world.wait(20)
    assert world.fact(ino) == 14
    world.volume.fs.data.write(ino, 0, b"other")
    assert world.fact(ino) is None
    world.settle()
    world.wait(QUIET + 10)
    assert world.fact(ino) is None
    assert world.worker.seen == [b"known one ", b"other one "]


def test_files_that_were_there_before_are_found_by_the_pass(small: LooseVolume) -> None:
    inos = []
    for number in range(100):
        inos.append(make(small, b"%d" % number).ino)
        small.fs.data.write(inos[-1], 0, b"known %d" % number)
    small.fs.syncer.checkpoint()
    world = World(small)
    states = set[str]()
    world.worker.meanwhile = lambda: states.add(world.gathering.status()["state"])
    world.wait(0)
    assert all(world.fact(ino) for ino in inos)
    assert states == {"working"}
    assert world.gathering.status()["state"] == "idle"
    assert world.gathering.status()["pass"] == 1.0
    world.wait(STORE_EVERY_S + 1)
    world.restart()
    world.wait(0)
    assert world.worker.seen == []
    world.end()


def test_what_is_written_and_not_settled_waits_for_the_checkpoint(world: World) -> None:
    ino = make(world.volume, b"a").ino
    world.volume.fs.data.write(ino, 0, b"known one")
    world.volume.index.store_deferred()
    world.wait(QUIET + 10)
    assert world.fact(ino) is None
    world.settle()
    world.wait(10)
    assert world.fact(ino) == 9


def test_a_restart_loses_no_file_that_waits(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.wait(10)
    world.restart()
    world.wait(QUIET + 10)
    assert world.fact(ino) == 9


def test_a_kill_loses_no_file_that_waits(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.wait(10)
    world.gathering._stopped = True
    world.catalog.close()
    world.volume.abandon()
    world.volume.open()
    world.begin()
    world.wait(QUIET + 10)
    assert world.fact(ino) == 9


def test_a_file_that_waits_for_its_checkpoint_survives_a_restart(world: World) -> None:
    ino = make(world.volume, b"a").ino
    world.volume.fs.data.write(ino, 0, b"known one")
    world.volume.index.store_deferred()
    world.wait(QUIET + 10)
    world.restart()
    world.wait(QUIET + 10)
    assert world.fact(ino) == 9


def test_an_error_is_listed_and_not_tried_again_before_the_file_changes(world: World) -> None:
    ino = world.write(b"a", b"bad header")
    world.wait(QUIET + 10)
    assert world.errors() == [("/a", "bad")]
    world.restart()
    world.wait(QUIET + 10)
    assert world.worker.seen == []
    world.volume.fs.data.write(ino, 0, b"known")
    assert world.errors() == []
    world.settle()
    world.wait(QUIET + 10)
    assert (world.fact(ino), world.errors()) == (10, [])


def test_a_better_extractor_looks_at_its_files_again(world: World) -> None:
    world.write(b"a", b"known one")
    world.wait(QUIET + 10)
    world.worker.version = 2
    world.restart()
    world.wait(0)
    assert world.worker.seen == [b"known one"]
    world.wait(100)
    assert world.worker.seen == [b"known one"]


def test_another_extractor_looks_at_files_that_none_has_known(world: World) -> None:
    world.write(b"a", b"unheard of")
    world.wait(QUIET + 10)
    world.restart()
    world.wait(0)
    assert world.worker.seen == []
    world.worker.version = 2
    world.restart()
    world.wait(0)
    assert world.worker.seen == [b"unheard of"]


def test_a_file_that_changes_while_it_is_looked_at_gets_no_facts_of_what_it_was(
    world: World,
) -> None:
    ino = world.write(b"a", b"known one")

    def change() -> None:
        world.worker.meanwhile = lambda: None
        world.volume.fs.data.write(ino, 9, b" more")

    world.worker.meanwhile = change
    world.wait(QUIET + 10)
    assert world.fact(ino) is None
    world.settle()
    world.wait(QUIET + 10)
    assert world.fact(ino) == 14


def test_a_file_that_is_unlinked_meanwhile_is_forgotten(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.volume.fs.names.unlink(1, b"a")
    world.volume.fs.names.forget(ino)
    world.volume.fs.reclaimer.drain()
    world.wait(QUIET + 10)
    assert world.worker.seen == []
    assert world.gathering.status()["pending"] == 0


def test_only_what_is_on_disk_counts_for_the_mover(world: World) -> None:
    head = world.write(b"small", b"known".ljust(4000))
    tail = world.write(b"large", b"known".ljust(100_000))
    world.wait(QUIET + 10)
    assert (world.fact(head), world.fact(tail)) == (4000, 100_000)
    assert world.limits.asked == [65536 - 4096, 1]


def test_a_move_asks_for_no_second_look(world: World) -> None:
    ino = world.write(b"a", b"known".ljust(100_000))
    world.wait(QUIET + 10)
    must(place(world.volume, b"a", 0))
    world.wait(QUIET + 10)
    assert world.fact(ino) == 100_000
    assert len(world.worker.seen) == 1


def test_run_does_not_wait_until_files_are_left_alone(world: World) -> None:
    ino = world.write(b"a", b"known one")
    assert world.gathering.start()["state"] == "working"
    world.wait(0)
    assert world.fact(ino) == 9
    assert world.gathering.status()["state"] == "idle"


def test_run_does_not_wait_for_files_behind_the_first_changes_of_the_feed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "CHANGES", 2)
    for number in range(5):
        make(world.volume, b"%d" % number)  # empty: there is nothing to look at
    ino = world.write(b"a", b"known one")
    world.gathering.start()
    world.wait(0)
    assert world.fact(ino) == 9
    assert world.gathering.status()["state"] == "idle"


def test_run_that_is_asked_for_during_a_step_does_not_wait(world: World) -> None:
    first = world.write(b"a", b"known one")
    inos: list[int] = []

    def ask() -> None:
        world.worker.meanwhile = lambda: None
        inos.append(world.write(b"b", b"known two"))
        world.gathering.start()

    world.worker.meanwhile = ask
    world.wait(QUIET + 10)
    assert (world.fact(first), world.fact(inos[0])) == (9, 9)


def asked(world: World) -> bool:
    """Whether something is to be looked at that `start` asked for."""
    return bool(world.gathering.status()["asked"])


def test_run_is_done_when_what_was_there_is_looked_at(world: World) -> None:
    ino = world.write(b"a", b"known one")
    world.gathering.start()
    later = world.write(b"b", b"known two")
    assert asked(world)
    world.wait(0)
    assert (world.fact(ino), world.fact(later), asked(world)) == (9, None, False)
    assert world.gathering.status()["state"] == "working"
    world.wait(QUIET + 10)
    assert world.fact(later) == 9


def test_run_is_done_though_files_become_due_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "SPAN", 2)
    inos = [world.write(b"%d" % number, b"known") for number in range(20)]
    world.wait(QUIET + 10)
    world.worker.version = 2  # the pass is to look at all of them once more
    world.restart()
    made: list[int] = []

    def write() -> None:
        made.append(world.write(b"new %d" % len(made), b"known"))
        world.now += QUIET

    world.worker.meanwhile = write
    world.gathering.start()
    for _ in range(100):
        if not asked(world):
            break
        world.gathering._step()
    assert not asked(world)
    states = world.catalog.fact_states(inos)
    assert {states[ino].extractor_version for ino in inos} == {2}
    assert made


def test_run_waits_for_bytes_that_are_not_settled_and_not_for_a_file_that_changes_since(
    world: World,
) -> None:
    inos = [make(world.volume, name).ino for name in (b"a", b"b")]
    for ino in inos:
        world.volume.fs.data.write(ino, 0, b"known one")
    world.gathering.start()
    world.wait(10)
    assert asked(world)
    world.volume.fs.data.write(inos[1], 9, b" more")
    world.settle()
    world.wait(10)
    assert ([world.fact(ino) for ino in inos], asked(world)) == ([9, None], False)
    world.wait(QUIET + 10)
    assert world.fact(inos[1]) == 14


def test_run_waits_for_a_file_that_is_moved_meanwhile(world: World) -> None:
    ino = world.write(b"a", b"known".ljust(100_000))
    world.gathering._step()
    world.gathering.start()
    must(place(world.volume, b"a", 0))
    world.wait(0)
    assert (world.fact(ino), asked(world)) == (100_000, False)


def test_bytes_that_cannot_be_read_are_an_error(world: World) -> None:
    world.write(b"a", b"known one")
    world.volume.os.clear()
    world.volume.os.fail(Point("flash.pread"), 5)
    world.wait(QUIET + 10)
    ((path, why),) = world.errors()
    assert (path, why.startswith("its bytes cannot be read")) == ("/a", True)


def test_a_feed_that_broke_off_is_followed_anew(world: World) -> None:
    world.wait(STORE_EVERY_S + 1)
    ino = world.write(b"a", b"known one")
    world.volume.index.feed.shed()
    world.wait(10)
    assert world.fact(ino) == 9
    other = world.write(b"b", b"known too")
    world.wait(QUIET + 10)
    assert world.fact(other) == 9


def test_a_worker_that_does_not_begin_is_told_and_tried_again(
    world: World, expect_log: ExpectLog
) -> None:
    expect_log("header facts: broken; tried again every minute")
    ino = world.write(b"a", b"known one")
    world.worker.broken = True
    for _ in range(2):
        world.now += QUIET + 10
        assert not world.gathering._step()
    assert world.gathering.status()["problem"] == "broken"
    world.worker.broken = False
    world.wait(0)
    assert world.fact(ino) == 9
    assert world.gathering.status()["problem"] is None


def test_the_feed_is_kept_only_as_far_as_it_is_needed(world: World) -> None:
    for number in range(5):
        world.write(b"%d" % number, b"known")
        world.wait(QUIET + 10)
    world.wait(STORE_EVERY_S + 1)
    feed = world.volume.index.feed
    (serial,) = [reader.serial for reader in feed.readers() if reader.name == READER]
    assert serial == feed.last()
    assert world.volume.index.header_facts.progress().position == LOOKED_AT


def test_it_ends_while_it_waits_for_a_window(small: LooseVolume) -> None:
    ino = make(small, b"a").ino
    small.fs.data.write(ino, 0, b"known".ljust(100_000))
    small.fs.syncer.checkpoint()
    world = World(small)
    del world.gathering._rest
    world.limits.open = False
    asked = world.limits.looked
    thread = threading.Thread(target=world.gathering.run)
    thread.start()
    assert asked.wait(60)
    world.end()
    thread.join(60)
    assert not thread.is_alive()


def test_what_is_found_is_stored_before_the_next_file_is_looked_at(world: World) -> None:
    inos = [world.write(b"%d" % number, b"known %d" % number) for number in range(3)]
    stored: list[int] = []
    world.worker.meanwhile = lambda: stored.append(sum(world.fact(ino) == 7 for ino in inos))
    world.wait(QUIET + 10)
    assert stored == [0, 1, 2]


def test_a_pass_over_files_that_are_known_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "SPAN", 2)
    for number in range(9):
        world.write(b"%d" % number, b"known")
    world.wait(QUIET + 10)
    world.gathering.start()
    while world.gathering._step():
        pass
    assert world.gathering.status()["pass"] == 1.0
    assert len(world.worker.seen) == 9
