"""What `tierfs top` and `tierfs profile` make of the daemon's answers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from tierfs.cli import profile
from tierfs.cli.profile import Recorded, lines, promotions, record, report
from tierfs.cli.top import shown
from tierfs.cli.watching import CLASSES, Watcher, by_directory, by_process, quantile, since
from tierfs.common.errors import NotMounted, UsageError
from tierfs.common.units import SECOND
from tierfs.native._router import ANSWERED

BOUNDS = (0.001, 0.01, 0.1)
MINUTE = 60.0


def counters(**operations: tuple[int, list[int]]) -> dict[str, Any]:
    return {
        "operations": {
            name: {"requests": requests, "buckets": buckets}
            for name, (requests, buckets) in operations.items()
        },
        "latency_bounds": BOUNDS,
        "read_bytes": {"flash": 3000, "disk": 1000},
        "written_bytes": {"flash": 500},
        "moved_bytes": 700,
        "to_python": 20,
    }


def answer(at: float, counted: dict[str, Any], *rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": at,
        "counters": counted,
        "moves": {"under_way": 1, "waiting": 2},
        "rows": list(rows),
        "processes": {
            "10": process("python", disk_threads=2, disk_lived=2 * 60 * MINUTE),
            "11": process("python", disk_threads=2, disk_lived=2 * 60 * MINUTE),
            "12": process("rsync", session=2),
            "13": process(None),
        },
        "files": [],
        "untold_reads": 0,
        "attributes_requests": True,
    }


def process(name: str | None, **known: float) -> dict[str, Any]:
    return {"name": name, "session": 1, "threads": 2, "disk_threads": 0, "disk_lived": 0} | known


def row(process: int, tier: str, waited: float, **known: Any) -> dict[str, Any]:  # noqa: ANN401 - of any type
    made = {
        "process": process,
        "request": "read",
        "tier": tier,
        "directory": "/screens",
        "requests": 10,
        "bytes": 1000,
        "seconds": waited,
        "waited": waited,
    }
    return made | known


def test_quantiles_are_interpolated() -> None:
    assert quantile([0, 0, 0, 0], BOUNDS, 0.5) is None
    assert quantile([10, 0, 0, 0], BOUNDS, 0.5) == pytest.approx(0.0005)
    assert quantile([50, 50, 0, 0], BOUNDS, 0.5) == pytest.approx(0.001)
    assert quantile([50, 50, 0, 0], BOUNDS, 0.75) == pytest.approx(0.0055)
    assert quantile([0, 0, 0, 5], BOUNDS, 0.99) == BOUNDS[-1]  # above, nobody knows how far


def test_requests_have_one_class_each() -> None:
    members = [name for names in CLASSES.values() for name in names]
    assert len(members) == len({*members})
    assert {*ANSWERED} - {*members} == {"forget", "open", "release"}


def test_rates_are_of_the_interval() -> None:
    before = answer(100.0, counters(read=(5, [5, 0, 0, 0]), unlink=(7, [])))
    after = answer(
        102.0,
        counters(read=(105, [55, 50, 0, 0]), unlink=(9, [2, 0, 0, 0]), mkdir=(4, [4, 0, 0, 0]))
        | {"read_bytes": {"flash": 9000, "disk": 3000}, "to_python": 26, "moved_bytes": 900},
    )
    found = since(before, after)
    assert found["requests"] == 53
    assert found["classes"]["read"]["requests"] == 50
    assert found["classes"]["read"]["p50"] == pytest.approx(0.001)
    assert found["classes"]["change"]["requests"] == 3
    assert found["answered_from_cache"] == pytest.approx(100 / 106)
    assert found["read_from_flash"] == pytest.approx(0.75)
    assert found["tiers"]["disk"] == {"read_bytes": 1000, "written_bytes": 0}
    assert found["moves"] == {"under_way": 1, "waiting": 2, "copied_bytes": 100}
    assert found["operations"]["mkdir"] == 2


def test_rows_are_summed_by_name_and_directory() -> None:
    found = answer(
        0.0,
        counters(),
        row(10, "disk", 3.0),
        row(11, "flash", 1.0, directory="/a"),
        row(13, "disk", 9.0, directory=None),
        row(0, "disk", 1.0),
    )
    unknown, python = by_process(found)
    assert (unknown["name"], unknown["processes"], unknown["waited"]) == ("unknown", [13], 10.0)
    assert (python["name"], python["processes"], python["threads"]) == ("python", [10, 11], 4)
    assert python["by_tier"] == {"disk": 3.0, "flash": 1.0}
    assert [one["directory"] for one in by_directory(found)] == ["unknown", "/screens", "/a"]


def files(directory: str, waited: float, count: int = 1) -> dict[str, Any]:
    return {
        "directory": directory,
        "files": count,
        "bytes": count * 1000,
        "requests": count,
        "seconds": waited,
        "waited": waited,
    }


def test_the_deepest_directory_with_most_of_the_waiting_is_named_first() -> None:
    found = promotions(
        [files("/screens/a", 50.0), files("/screens/b/c", 45.0), files("/other", 5.0)], 0.5
    )
    assert [one["directory"] for one in found] == [
        "/screens",
        "/screens/a",
        "/screens/b/c",
        "/other",
    ]
    assert found[0]["bytes"] == 2000
    assert found[0]["saves"] == pytest.approx(95.0 - 2 * 0.5)
    assert promotions([], 0.0) == []
    assert promotions([files("/fast", 0.4)], 0.5) == []  # it would be no faster


def recorded(*rows: dict[str, Any], session: int = 0, **known: Any) -> Recorded:  # noqa: ANN401 - of any type
    told = answer(0.0, counters(), *rows) | known
    return Recorded(told, 60 * MINUTE, "python" if session else None, session, 0, False)  # noqa: FBT003 - by position


def test_what_several_threads_lost_is_told_for_each() -> None:
    found = report(
        recorded(
            row(10, "disk", 28 * MINUTE),
            row(11, "disk", 28 * MINUTE),
            row(12, "disk", 10 * MINUTE, request="promote"),
            files=[files("/screens", 48 * MINUTE, 38)],
        )
    )
    assert found["disk_reads"] == {
        "waited": 56 * MINUTE,
        "names": ["python"],
        "processes": 2,
        "threads": 4,
        "at_a_time": 4.0,
    }
    told = lines(found, Path("/mnt"))
    assert "python lost 14.0 min of 60.0 min to disk reads, each of 4.0 threads at a time" in told
    assert "promoting 37.1KiB (38 files) below /screens would save 12.0 min" in told
    assert "(if flash took no time: nothing was read from it meanwhile)" in told


def test_what_the_same_reads_take_on_flash_is_taken_off() -> None:
    found = report(
        recorded(
            row(10, "disk", 30.0),
            row(12, "flash", 20.0, requests=20),
            session=1,
            files=[files("/screens", 30.0, 10)],
        )
    )
    assert found["flash_read"] == 1.0
    assert found["promotions"][0]["saves"] == pytest.approx(20.0)
    assert [one["name"] for one in found["processes"]] == ["python"]
    assert found["tiers"].keys() == {"disk"}


def test_a_span_without_requests_or_disk() -> None:
    assert len(lines(report(recorded()), Path("/mnt"))) == 1
    told = lines(report(recorded(row(10, "flash", 1.0))), Path("/mnt"))
    assert told[-1] == "the programs waited for no disk read"


def test_the_table_names_ten_and_counts_the_rest() -> None:
    rows = [row(10, "disk", 1.0, directory=f"/{number}") for number in range(25)]
    assert "and 15 more; see --json" in lines(report(recorded(*rows)), Path("/mnt"))


class Busy:
    """A watcher whose daemon does not answer each time."""

    interrupted = False

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.asked = 0
        self.sessions: list[int] = []

    def ask(
        self, *, rows: bool = False, files: bool = False, session: int = 0, end: bool = False
    ) -> dict[str, Any]:
        self.asked += 1
        if self.asked in self.failing:
            raise NotMounted("too many requests at a time; ask again in a moment")
        assert rows == files == end
        if end:
            self.sessions.append(session)
        return answer(0.0, counters())


def recorded_by(busy: Busy, *program: str, span: int | None = None) -> Recorded:
    return record(cast("Watcher", busy), program, span)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking often, and a default that is over at once."""
    monkeypatch.setattr(profile, "RENEW_S", 0.1)
    monkeypatch.setattr(profile, "DEFAULT_S", 0.05)


@pytest.mark.usefixtures("often")
def test_a_command_is_watched_to_its_end_although_the_daemon_is_busy() -> None:
    busy = Busy(2, 4, 6, 7, 8, 9)
    found = recorded_by(busy, "sh", "-c", "sleep 0.6; exit 3")
    assert found.status == 3
    assert found.seconds >= 0.6
    assert busy.asked <= 16  # not without a pause
    assert busy.sessions == [found.session]


@pytest.mark.usefixtures("often")
def test_a_command_that_is_killed_has_the_code_that_a_shell_reports() -> None:
    assert recorded_by(Busy(), "sh", "-c", "kill -9 $$").status == 137
    with pytest.raises(UsageError, match=r"^/missing: No such file"):
        recorded_by(Busy(), "/missing")


@pytest.mark.usefixtures("often")
def test_a_span_ends_before_the_command_which_is_waited_for() -> None:
    found = recorded_by(Busy(), "sh", "-c", "sleep 0.5; exit 3", span=SECOND // 5)
    assert 0.2 <= found.seconds < 0.45
    assert found.status == 3
    assert recorded_by(Busy()).seconds < 0.5


@pytest.mark.usefixtures("often")
def test_a_daemon_that_is_gone_is_an_error_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "PATIENCE_S", 0.2)
    with pytest.raises(NotMounted):
        recorded_by(Busy(*range(2, 100)), "true")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 50), (80, 10)])
def test_a_screen_fits_the_terminal(width: int, height: int) -> None:
    interval = since(answer(1.0, counters()), answer(2.0, counters(read=(9, [9, 0, 0, 0]))))
    waiting = [row(10, "disk", 0.5, directory="/long" * 50) for _ in range(100)]
    found = interval | {
        "attributes_requests": True,
        "processes": by_process(answer(0.0, counters(), *waiting)) * 20,
        "directories": by_directory(answer(0.0, counters(), *waiting)) * 20,
    }
    made = shown(found, Path("/mnt/\x1b[31mimages" * 9), 2.0, width, height)
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, no_color=True)
    for line in made:
        assert line.cell_len <= width
        console.print(line)
    assert len(made) <= max(height, 24) - 1
    assert "\x1b[31m" not in out.getvalue()
