"""What the daemon keeps for those who watch, and for how long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.metadata.rows import inode
from tierfs.common.errors import UsageError
from tierfs.daemon import attribution
from tierfs.daemon.attribution import Attribution, IndexOfFiles, WatchedMigrator
from tierfs.fs.migration_plan import Migrated
from tierfs.metadata.inodes import Inode

pytestmark = pytest.mark.once

REQUESTS = ("lookup", "read")
TIERS = ("memory", "index", "flash", "disk")
PATHS = {1: b"/", 5: b"/screens", 6: b"/screens/\xff"}

Row = tuple[Any, ...]


class Router:
    """As far as the attribution needs it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.leases: list[float] = []

    def taken(self) -> list[Any]:
        rows, self.rows = self.rows, []
        return rows


def files(inos: Sequence[int]) -> list[Inode]:
    """All but 99; even ones are in /screens."""
    assert list(inos) == sorted(inos)
    return [
        inode(ino, size=10_000, prefix=4096, parent=6 if ino % 2 else 5)
        for ino in inos
        if ino != 99
    ]


def directories(inos: Sequence[int]) -> dict[int, bytes]:
    return {ino: PATHS[ino] for ino in inos if ino in PATHS}


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def watched(router: Router) -> Attribution:
    return Attribution(
        router.leases.append, router.taken, (REQUESTS, TIERS), IndexOfFiles(files, directories)
    )


def row(
    process: int = 10,
    *,
    thread: int = 0,
    session: int = 7,
    name: bytes = b"cat",
    request: str = "read",
    tier: str = "flash",
    directory: int = 5,
    file: int = 0,
    waited: float = 1.0,
) -> Row:
    return (
        *(thread or process, process, session, name),
        *(REQUESTS.index(request), TIERS.index(tier), directory, file),
        *(1, 100, 2.0, waited, 50.0, 60.0),
    )


def sums(shown: dict[str, Any]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    return {
        (one["process"], one["request"], one["tier"], one["directory"]): (
            one["requests"],
            one["waited"],
        )
        for one in shown["rows"]
    }


def take(watched: Attribution, watcher: str, *, session: int = 0) -> dict[str, Any]:
    return watched.take(watched.renew(watcher), files=True, session=session)


def test_rows_are_added_up_until_they_are_told(router: Router, watched: Attribution) -> None:
    watcher = watched.renew("")
    for _ in range(3):
        router.rows = [row(), row(directory=6), row(0, name=b"", session=0)]
        assert watched.renew(watcher) == watcher
    told = take(watched, watcher)
    assert sums(told) == {
        (10, "read", "flash", "/screens"): (3, 3.0),
        (10, "read", "flash", "/screens/\udcff"): (3, 3.0),
        (0, "read", "flash", "/screens"): (3, 3.0),
    }
    assert told["processes"]["10"] == {
        "name": "cat",
        "session": 7,
        "threads": 1,
        "disk_threads": 0,
        "disk_lived": 0,
    }
    assert take(watched, watcher)["rows"] == []
    assert router.leases == [attribution.LEASE_S] * 6


def test_each_watcher_is_told_what_happened_since_it_came(
    router: Router, watched: Attribution
) -> None:
    first = watched.renew("")
    router.rows = [row()]
    second = watched.renew("")
    router.rows = [row()]
    assert [one["requests"] for one in take(watched, second)["rows"]] == [1]
    assert [one["requests"] for one in take(watched, first)["rows"]] == [2]


def test_files_read_from_disk_are_summed_by_directory(router: Router, watched: Attribution) -> None:
    watcher = watched.renew("")
    router.rows = [
        row(tier="disk", file=20),
        row(tier="disk", file=20),
        row(tier="disk", file=22),
        row(tier="disk", file=21, directory=6),
        row(11, session=8, tier="disk", file=24),
        row(tier="disk", file=99),  # it is gone
    ]
    told = take(watched, watcher, session=7)
    assert told["files"] == [
        {
            "directory": "/screens",
            "files": 2,
            "bytes": 2 * (10_000 - 4096),
            "requests": 3,
            "seconds": 6.0,
            "waited": 3.0,
        },
        {
            "directory": "/screens/\udcff",
            "files": 1,
            "bytes": 10_000 - 4096,
            "requests": 1,
            "seconds": 2.0,
            "waited": 1.0,
        },
    ]
    assert told["processes"]["10"]["disk_threads"] == 1
    assert told["processes"]["10"]["disk_lived"] == 10.0
    assert {key[3] for key in sums(told)} == {"/screens", "/screens/\udcff"}


def test_where_the_directory_is_not_known_the_index_is_asked(
    router: Router, watched: Attribution
) -> None:
    watcher = watched.renew("")
    router.rows = [row(directory=0, file=21), row(directory=0, file=99), row(directory=77)]
    assert sums(take(watched, watcher)) == {
        (10, "read", "flash", "/screens/\udcff"): (1, 1.0),
        (10, "read", "flash", None): (1, 1.0),
    }


def test_what_there_is_no_room_for_loses_no_request(
    router: Router, watched: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "MOST_ROWS", 20)
    monkeypatch.setattr(attribution, "MOST_FILES", 5)
    watcher = watched.renew("")
    router.rows = [row(100 + number, tier="disk", file=20 + 2 * number) for number in range(30)]
    told = take(watched, watcher)
    assert sum(one["requests"] for one in told["rows"]) == 30
    assert len(told["rows"]) == 21
    assert len(told["processes"]) == 20
    assert sum(one["files"] for one in told["files"]) == 5
    assert told["untold_reads"] == 25


def test_who_does_not_ask_is_forgotten(
    router: Router, watched: Attribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribution, "LEASE_S", 0.05)
    watcher = watched.renew("")
    router.rows = [row()]
    time.sleep(0.3)  # and nobody else asks
    assert watched._watches == {}
    again = watched.renew(watcher)
    assert again != watcher
    assert take(watched, again)["rows"] == []


def test_only_so_many_watch_at_a_time(watched: Attribution) -> None:
    last = [watched.renew("") for _ in range(attribution.MOST_WATCHERS)][-1]
    with pytest.raises(UsageError, match="8 others watch this mount already"):
        watched.renew("")
    watched.end(last)
    assert watched.renew("")
    watched.close()
    assert watched.renew("")


class Mover:
    """A migrator that takes its time."""

    def place(
        self, ino: int, prefix: int, *, keep_mirror: bool, paced: Callable[[int], None]
    ) -> Migrated:
        assert not keep_mirror
        paced(1000)
        time.sleep(0.02)
        freed = 0 if prefix else 1000
        return Migrated(ino, "moved", 1000 - freed, freed)

    def mirror(self, inos: Sequence[int], *, paced: Callable[[int], None]) -> list[Migrated]:
        paced(1000)
        time.sleep(0.02)
        return [Migrated(ino, "moved", 500) for ino in inos]


def test_moves_are_the_daemons_own_without_the_pauses(watched: Attribution) -> None:
    migrator = WatchedMigrator(Mover(), watched.moved)

    def pause(_count: int) -> None:
        time.sleep(0.2)

    migrator.place(20, 1, keep_mirror=False, paced=pause)  # nobody watches
    watcher = watched.renew("")
    migrator.place(20, 1, keep_mirror=False, paced=pause)
    migrator.place(21, 0, keep_mirror=False, paced=pause)
    migrator.mirror([22, 24], paced=pause)
    told = take(watched, watcher)
    ours = os.getpid()
    assert {
        key: requests for key, (requests, waited) in sums(told).items() if 0.01 < waited < 0.2
    } == {
        (ours, "promote", "disk", "/screens"): 1,
        (ours, "demote", "disk", "/screens/\udcff"): 1,
        (ours, "mirror", "disk", "/screens"): 2,
    }
    assert told["files"] == []


def test_without_the_fast_path_only_moves_are_known() -> None:
    watched = Attribution(None, list, ((), ()), IndexOfFiles(files, directories))
    watcher = watched.renew("")
    watched.moved("mirror", [20], 10, 0.5)
    assert list(sums(take(watched, watcher))) == [(os.getpid(), "mirror", "disk", "/screens")]
