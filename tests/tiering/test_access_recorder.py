"""The recorder and its rotating log: what they write, what bounds them, what becomes of errors."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.fs.calls import ME, file_of
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import FaultyOs, Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import IndexFailed
from tierfs.common.units import MIB, SECOND
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.reader import IndexReader
from tierfs.tiering import access_recorder
from tierfs.tiering.access_log import Beginning, FileFacts, Gone, Line, Recording, Use, older, parse
from tierfs.tiering.access_recorder import REFRESH, AccessRecorder, RotatingLog, facts_of

NOW = 1_700_000_000 * SECOND

BEGINNING = Beginning(1, 4096, 1000)


FIRST = b"begin\n"
LINE = b"0123456789abcde\n"


class Files:
    """Files as the index tells them; looking up can be held back, or fail."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.asked: list[int] = []
        self.fail = False
        self.go = threading.Event()
        self.go.set()

    def look_up(self, inos: Sequence[int]) -> Mapping[int, FileFacts]:
        self.go.wait(10)
        self.asked += inos
        if self.fail:
            raise IndexFailed(5)
        return {ino: self.facts(ino) for ino in inos if ino in self.sizes}

    def facts(self, ino: int) -> FileFacts:
        return FileFacts(ino, self.sizes[ino], NOW, 1, 2, 0, (b"/%d" % ino,))


class Recorder:
    """A recorder of `files` to `path`, and what it wrote."""

    def __init__(self, path: Path, size: int = MIB) -> None:
        self.path, self.files, self.os = path, Files(), FaultyOs()
        self.it = AccessRecorder(path, size, self.files.look_up, head=4096, flash=1000, os_=self.os)

    def written(self) -> list[Line]:
        self.it.close()
        recording = Recording(self.path)
        lines = list(recording)
        assert recording.damaged == []
        return lines


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path / "access")
    yield made
    made.files.go.set()
    made.it.close()


def test_facts_are_told_once_and_uses_each_time(recorder: Recorder) -> None:
    recorder.files.sizes = {7: 100, 8: 200}
    recorder.it.feed([(7, 2, 150), (8, 1, 200), (9, 0, 0)], NOW)
    recorder.it.feed([(7, 1, 100)], NOW + SECOND)
    assert recorder.written() == [
        BEGINNING,
        recorder.files.facts(7),
        recorder.files.facts(8),
        Use(NOW, 7, 150, 2),
        Use(NOW, 8, 200),
        Use(NOW + SECOND, 7, 100),
    ]


def test_a_file_that_is_changed_is_told_anew_and_one_that_is_gone_as_well(
    recorder: Recorder,
) -> None:
    recorder.files.sizes = {7: 100, 9: 0}
    recorder.it.feed([(7, 1, 100)], NOW)
    recorder.it.changed({7}, NOW + SECOND)
    recorder.it.changed([8], NOW + SECOND)
    recorder.it.changed([9], NOW + SECOND)
    facts = recorder.files.facts(7)
    assert recorder.written() == [
        BEGINNING,
        facts,
        Use(NOW, 7, 100),
        facts,
        Use(NOW + SECOND, 7, 100, write=True),
        Gone(8),
        recorder.files.facts(9),
    ]


def test_facts_are_told_again_after_a_while(recorder: Recorder) -> None:
    recorder.files.sizes = {7: 100}
    for now in (NOW, NOW + REFRESH - 1, NOW + REFRESH):
        recorder.it.feed([(7, 1, 100)], now)
    recorder.it.close()
    assert recorder.files.asked == [7, 7]


def test_a_scan_is_looked_up_little_by_little(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_recorder, "LOOKUPS", 10)
    recorder.files.sizes = dict.fromkeys(range(1, 26), 5)
    recorder.it.feed([(ino, 1, 5) for ino in range(1, 26)], NOW)
    for _ in range(2):
        recorder.it.feed([(1, 1, 5)], NOW + SECOND)
    assert sum(isinstance(line, FileFacts) for line in recorder.written()) == 25
    assert sorted(recorder.files.asked) == list(range(1, 26))


def test_an_index_that_fails_costs_the_facts_only(recorder: Recorder) -> None:
    recorder.files.fail = True
    recorder.it.feed([(7, 1, 100)], NOW)
    assert recorder.written() == [BEGINNING, Use(NOW, 7, 100)]


def test_the_log_is_bounded_and_each_part_tells_its_own_facts(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "access")
    recorder.files.sizes = dict.fromkeys(range(1, 201), 5)
    for second in range(400):
        recorder.it.feed([(ino, 1, 5) for ino in range(1, 201)], NOW + second * SECOND)
    recorder.it.close()
    parts = [recorder.path, older(recorder.path)]
    assert MIB // 2 < sum(part.stat().st_size for part in parts) <= MIB
    for part in parts:
        lines = [parse(line) for line in part.read_bytes().splitlines()]
        assert sum(isinstance(line, FileFacts) for line in lines) == 200
        assert lines[0] == BEGINNING


def test_who_feeds_never_waits_and_what_is_too_much_is_left_out(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log("writing does not keep up; accesses are left out")
    monkeypatch.setattr(access_recorder, "WAITING", 10)
    recorder.files.go.clear()
    for second in range(5):
        recorder.it.feed([(ino, 1, 5) for ino in range(1, 7)], NOW + second * SECOND)
    assert recorder.it.lost >= 18
    assert len(expect_log.records) == 1
    recorder.files.go.set()
    assert len(recorder.written()) in {1 + 6, 1 + 12}


def test_a_full_disk_ends_it_with_one_line(recorder: Recorder, expect_log: ExpectLog) -> None:
    expect_log("No space left on device; accesses are no longer recorded")
    recorder.os.full = {"access_log.write"}
    for second in range(5):
        recorder.it.feed([(7, 1, 100)], NOW + second * SECOND)
    recorder.it._thread.join(10)
    recorder.it.feed([(7, 1, 100)], NOW)
    recorder.it.changed([7], NOW)
    recorder.it.close()
    assert not recorder.it.recording
    assert len(expect_log.records) == 1
    assert list(Recording(recorder.path)) == [BEGINNING]


def test_facts_come_from_the_index(small: LooseVolume) -> None:
    ino = file_of(small, bytes(9000), b"a file")
    small.fs.xattrs.set(ino, b"user.state", b"hot")
    small.fs.xattrs.set(ino, b"user.long", bytes(257))
    reader = IndexReader(small.index.path)
    try:
        found = facts_of(reader, [ROOT, ino, 10**6])
    finally:
        reader.close()
    inode = small.index.inodes.get(ino)
    assert found == {
        ino: FileFacts(
            ino,
            9000,
            inode.mtime,
            ME.uid,
            ME.gid,
            4096,
            (b"/a file",),
            ((b"user.state", b"hot"),),
        )
    }


def size_of(path: Path) -> int:
    return sum(part.stat().st_size for part in (path, older(path)) if part.exists())


def fill(parts: RotatingLog, lines: int) -> None:
    for _ in range(lines):
        if not parts.fits(LINE):
            parts.turn()
        parts.add(LINE)


def test_it_never_grows_beyond_its_size(tmp_path: Path) -> None:
    path = tmp_path / "sub/log"
    parts = RotatingLog(path, 200, FIRST)
    for _ in range(50):
        fill(parts, 1)
        assert size_of(path) <= 200
    parts.close()
    assert older(path).read_bytes() == FIRST + 5 * LINE
    assert path.read_bytes().startswith(FIRST + LINE)
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_goes_on_where_it_ended_behind_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"torn")
    RotatingLog(path, 200, FIRST).close()
    RotatingLog(path, 200, FIRST).close()
    assert path.read_bytes() == b"torn\n" + FIRST + FIRST


def test_a_part_that_is_full_is_turned_when_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(6 * LINE)
    RotatingLog(path, 200, FIRST).close()
    assert (older(path).read_bytes(), path.read_bytes()) == (6 * LINE, FIRST)


def test_parts_from_a_time_when_more_was_allowed_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(20 * LINE)
    older(path).write_bytes(20 * LINE)
    RotatingLog(path, 200, FIRST).close()
    assert path.read_bytes() == FIRST
    assert not older(path).exists()


def test_of_lines_longer_than_a_part_whole_ones_are_kept(tmp_path: Path) -> None:
    parts = RotatingLog(tmp_path / "log", 200, FIRST)
    parts.add(20 * LINE)
    parts.close()
    assert (tmp_path / "log").read_bytes() == FIRST + 5 * LINE


def test_a_mount_over_its_directory_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    parts = RotatingLog(tmp_path / "in/log", 200, FIRST)
    (tmp_path / "in").rename(tmp_path / "hidden")
    (tmp_path / "in").mkdir()
    fill(parts, 12)
    parts.close()
    assert sorted(os.listdir(tmp_path / "hidden")) == ["log", "log.1"]
    assert os.listdir(tmp_path / "in") == []


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link") as caught:
        RotatingLog(tmp_path / "log", 200, FIRST)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("label", ["access_log.open", "access_log.write", "access_log.rename"])
def test_an_error_is_told_and_leaves_no_descriptor(tmp_path: Path, label: str) -> None:
    os_, before = FaultyOs(), len(os.listdir("/proc/self/fd"))
    os_.fail(Point(label, 0), errno.EIO)
    with pytest.raises(OSError, match="Input/output"):  # noqa: PT012 - at any of the steps
        parts = RotatingLog(tmp_path / "log", 200, FIRST, os_)
        try:
            parts.turn()
        finally:
            parts.close()
    assert len(os.listdir("/proc/self/fd")) == before
