"""The redo log: what a killed process has answered is there, in order, and nothing else."""

from __future__ import annotations

import errno
import marshal
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guards.logs import ExpectLog
from tests.metadata.conftest import OpenIndex
from tests.metadata.rows import add, names
from tests.support.faulty_os import FaultyOs, Point
from tests.support.fixtures import directory
from tierfs.common.errors import IndexFailed, VolumeRefused
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.metadata import redo
from tierfs.metadata.database import MOST_IN_GROUP
from tierfs.metadata.index import Index, migrate, settle
from tierfs.metadata.integrity import repairing
from tierfs.metadata.reader import IndexReader
from tierfs.metadata.sqlite import Row

OF_THE_MOUNT = {"redo"}
"""Tables that say how far SQLite is, not what there is."""


class Refused(Exception):
    """Ends a transaction of a test."""


@pytest.fixture
def faulty() -> FaultyOs:
    return FaultyOs()


@pytest.fixture
def grouped(open_index: OpenIndex, faulty: FaultyOs) -> Index:
    """An index that commits in groups, with changes in its feed, none of it in the redo log."""
    index = open_index(faulty)
    add(index, b"first")
    index.feed.register("test")
    index.group_commits()
    index.flush()
    faulty.clear()
    return index


def tables(index: Index) -> dict[str, list[Row]]:
    """Every row of every table, as the writer sees them."""
    rows = index._database.rows
    found = rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    tables = sorted({name for (name,) in found} - OF_THE_MOUNT)
    return {name: sorted(rows(f"SELECT * FROM {name}"), key=repr) for name in tables}  # noqa: S608


def killed(index: Index, target: Path) -> Path:
    """The index as a daemon that is killed now would leave it."""
    target.mkdir()
    for file in index.path.parent.glob("index.db*"):
        shutil.copyfile(file, target / file.name)
    return target / index.path.name


def refused(index: Index, name: bytes) -> None:
    """A transaction that removes a name, and fails then."""
    with index.transaction():
        index.dentries.delete(1, name)
        raise Refused


def opened(path: Path) -> Index:
    return Index(path, SYSTEM, Metrics())


def test_what_was_answered_survives_a_kill(grouped: Index, faulty: FaultyOs, home: Path) -> None:
    for number in range(10):
        add(grouped, b"%d" % number)
    assert faulty.labels == ["index.redo"] * 10
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)
        assert b"9" in names(found)


def test_a_mount_after_that_begins_a_redo_log_of_its_own(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    with closing(opened(path)) as second:
        second.group_commits()
        add(second, b"b")
        with closing(opened(killed(second, home / "again"))) as found:
            assert {b"a", b"b"} <= set(names(found))
            assert tables(found) == tables(second)


def test_sqlite_commits_a_full_group(grouped: Index, faulty: FaultyOs, home: Path) -> None:
    for number in range(MOST_IN_GROUP + 3):
        add(grouped, b"%d" % number)
    assert faulty.labels.count("index.commit") == 1
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_a_clean_end_leaves_no_redo_log(home: Path) -> None:
    path = home / "index.db"
    with closing(opened(path)) as index:
        index.group_commits()
        add(index, b"a")
        assert records(path).stat().st_mode & 0o777 == 0o600
    assert not records(path).exists()
    with closing(opened(path)) as again:
        assert names(again) == [b"a"]


def test_a_rollback_keeps_what_came_before_it(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    before = tables(grouped)
    with pytest.raises(Refused):
        refused(grouped, b"a")
    assert tables(grouped) == before
    add(grouped, b"b")
    assert set(names(grouped)) == {b"first", b"a", b"b"}
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_a_transaction_of_nothing_is_none(grouped: Index, faulty: FaultyOs) -> None:
    for _ in range(2):
        with grouped.transaction():
            pass
        with pytest.raises(Refused), grouped.transaction():
            raise Refused
        add(grouped, b"%d" % len(names(grouped)))
    assert faulty.labels == ["index.commit", "index.redo", "index.redo"]


def test_a_large_transaction_is_committed_at_once(
    grouped: Index, faulty: FaultyOs, home: Path
) -> None:
    made = add(grouped, b"a")
    with grouped.transaction():
        grouped.xattrs.put(made.ino, b"user.large", bytes(redo.LARGEST))
    add(grouped, b"b")
    assert faulty.labels == ["index.redo", "index.commit", "index.redo"]
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_what_is_not_one_statement_after_another_is_committed_at_once(
    grouped: Index, faulty: FaultyOs, home: Path
) -> None:
    made = add(grouped, b"a")
    with grouped.transaction():
        grouped.dentries.delete(1, b"a")
        grouped.inodes.delete(made.ino)
    assert faulty.labels == ["index.redo", "index.commit"]
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_without_the_redo_log_sqlite_commits(
    grouped: Index, faulty: FaultyOs, home: Path, code: int
) -> None:
    add(grouped, b"a")
    faulty.fail(Point("index.redo", 1), code)
    add(grouped, b"b")
    add(grouped, b"c")
    assert faulty.labels == ["index.redo", "index.redo", "index.commit", "index.redo"]
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_half_a_record_is_none(grouped: Index, faulty: FaultyOs, home: Path) -> None:
    add(grouped, b"a")
    faulty.write_short(Point("index.redo", 1), 100)
    add(grouped, b"b")
    assert faulty.labels[-1] == "index.commit"
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_without_room_for_a_redo_log_each_change_is_committed(
    open_index: OpenIndex,
    monkeypatch: pytest.MonkeyPatch,
    faulty: FaultyOs,
    expect_log: ExpectLog,
) -> None:
    expect_log(r"each change is committed alone: .*index\.db-redo: No space left on device")

    def no_room(_fd: int, _mode: int, _offset: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(redo, "fallocate", no_room)
    index = open_index(faulty)
    index.group_commits()
    add(index, b"first")
    faulty.clear()
    add(index, b"a")
    assert faulty.labels == ["index.commit"]


def test_a_commit_that_fails_loses_nothing(grouped: Index, faulty: FaultyOs, home: Path) -> None:
    add(grouped, b"a")
    faulty.fail(Point("index.commit", 0), errno.EIO)
    with pytest.raises(IndexFailed, match="Input/output error"):
        grouped.sync()
    assert b"a" in names(grouped)
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)
    grouped.sync()
    with closing(opened(killed(grouped, home / "again"))) as found:
        assert tables(found) == tables(grouped)


def test_a_change_whose_commit_fails_is_none(grouped: Index, faulty: FaultyOs, home: Path) -> None:
    made = add(grouped, b"a")
    faulty.fail(Point("index.commit", 0), errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), grouped.transaction():
        grouped.xattrs.put(made.ino, b"user.large", bytes(redo.LARGEST))
    assert grouped.xattrs.find(made.ino, b"user.large") is None
    assert b"a" in names(grouped)
    add(grouped, b"b")
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def add_around_a_failed_commit(index: Index, faulty: FaultyOs) -> None:
    """One name before a COMMIT that fails, two behind it."""
    add(index, b"a")
    faulty.fail(Point("index.commit", 0), errno.EIO)
    with pytest.raises(IndexFailed, match="Input/output error"):
        index.sync()
    faulty.clear()
    add(index, b"b")
    add(index, b"c")


def test_after_a_commit_that_failed_sqlite_commits_first(
    grouped: Index, faulty: FaultyOs, home: Path
) -> None:
    """It may be in SQLite's log: then its group counts as done, and no record of it as well."""
    add_around_a_failed_commit(grouped, faulty)
    assert faulty.labels == ["index.commit", "index.redo"]
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_a_group_that_sqlite_lost_is_repeated_before_anything_is_read(
    grouped: Index, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """As when its device failed, and works again."""
    database = grouped._database
    add(grouped, b"a")
    before = tables(grouped)
    control, failures = database._control, [1]

    def failing(statement: str, *args: object) -> None:
        if statement == "BEGIN IMMEDIATE" and failures.pop():
            failures.append(0)
            raise IndexFailed(errno.EIO, "its device failed")
        control(statement, *args)

    monkeypatch.setattr(database, "_control", failing)
    with pytest.raises(Refused):
        refused(grouped, b"a")
    assert not database._connection.in_transaction
    monkeypatch.undo()
    assert tables(grouped) == before
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == before


def put_too_much(index: Index, ino: int, *, within: bool) -> None:
    """A transaction for which there is no room; ``within``: it has done something before."""
    with index.transaction():
        if within:
            index.dentries.rename(1, b"a", b"renamed", ino)
        index.xattrs.put(ino, b"user.large", bytes(100_000))


@pytest.mark.parametrize("within", [True, False], ids=["in a transaction", "at its beginning"])
def test_a_group_that_sqlite_rolled_back_by_itself_is_repeated(
    grouped: Index, home: Path, *, within: bool
) -> None:
    """SQLITE_FULL ends the transaction of SQLite, with all that is in the group."""
    connection = grouped._database._connection
    made = add(grouped, b"a")
    before = tables(grouped)
    ((pages,),) = grouped._database.rows("PRAGMA page_count")
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(IndexFailed) as caught:
        put_too_much(grouped, made.ino, within=within)
    assert caught.value.errno == errno.ENOSPC
    connection.execute("PRAGMA max_page_count = 1000000")
    assert tables(grouped) == before
    add(grouped, b"b")
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)
    grouped.sync()
    with closing(opened(killed(grouped, home / "again"))) as found:
        assert tables(found) == tables(grouped)


def go_on_after_a_rollback(index: Index, ino: int) -> None:
    """As after an error of its device, which a caller takes for one of a statement."""
    with index.transaction():
        index._database._connection.execute("ROLLBACK")
        with suppress(IndexFailed):
            index._database.execute("SELECT none FROM none")
        index.dentries.rename(1, b"a", b"renamed", ino)


def test_who_goes_on_after_sqlite_rolled_back_is_refused(grouped: Index, home: Path) -> None:
    made = add(grouped, b"a")
    before = tables(grouped)
    with pytest.raises(IndexFailed, match="SQLite has rolled a transaction back"):
        go_on_after_a_rollback(grouped, made.ino)
    assert tables(grouped) == before
    grouped.sync()
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == before


@pytest.mark.parametrize("after", [0, 1])
def test_nothing_is_read_after_sqlite_rolled_back(grouped: Index, after: int) -> None:
    """Nor executed, with earlier transactions in the group, or as the first one."""
    made = add(grouped, b"a")
    if not after:
        grouped.flush()
    before = tables(grouped)
    database = grouped._database

    def go_on_with(work: Callable[[], object]) -> None:
        with grouped.transaction():
            database._connection.execute("ROLLBACK")
            with suppress(IndexFailed):
                database.execute("SELECT none FROM none")
            work()

    for work in (
        lambda: database.rows("SELECT name FROM entry"),
        lambda: database.row("SELECT name FROM entry"),
        lambda: database.execute("DELETE FROM entry WHERE ino = ?", made.ino),
    ):
        with pytest.raises(IndexFailed, match="SQLite has rolled a transaction back"):
            go_on_with(work)
    assert tables(grouped) == before


def test_room_for_a_group_is_made_by_a_checkpoint(
    grouped: Index, faulty: FaultyOs, home: Path
) -> None:
    add(grouped, b"a")
    faulty.fail(Point("index.commit", 0), errno.ENOSPC)
    grouped.sync()
    with closing(opened(killed(grouped, home / "killed"))) as found:
        assert tables(found) == tables(grouped)


def test_the_first_reader_of_the_feed_misses_nothing(home: Path) -> None:
    (home / "here").mkdir()
    with closing(opened(home / "here" / "index.db")) as index:
        add(index, b"first")
        index.group_commits()
        index.feed.register("test")
        add(index, b"a")
        with closing(opened(killed(index, home / "killed"))) as found:
            assert tables(found) == tables(index)
            assert found.feed.is_written


def test_a_redo_log_that_cannot_be_read_stays(
    grouped: Index, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> list[redo.Record]:
        raise OSError(errno.EIO, "Input/output error")

    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    with monkeypatch.context() as patch:
        patch.setattr("tierfs.metadata.database.unfinished", unreadable)
        with pytest.raises(IndexFailed, match=r"index\.db-redo: cannot be read"):
            opened(path)
    with closing(opened(path)) as found:
        assert tables(found) == tables(grouped)


def test_a_repair_carries_it_out_first(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    with repairing(path):
        pass
    assert not records(path).exists()
    with closing(opened(path)) as found:
        assert b"a" in names(found)


def test_what_is_left_at_the_end_is_left_to_the_next_mount(
    home: Path, expect_log: ExpectLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_log("left in the redo log")

    def failing() -> None:
        raise IndexFailed(errno.EIO, "its device failed")

    path = home / "index.db"
    index = opened(path)
    index.group_commits()
    add(index, b"a")
    monkeypatch.setattr(index._database.wal, "sync", failing)
    index.close()
    assert records(path).exists()
    with closing(opened(path)) as found:
        assert names(found) == [b"a"]


def test_another_connection_sees_what_is_flushed(grouped: Index) -> None:
    made = add(grouped, b"a")
    with closing(IndexReader(grouped.path)) as late:
        assert late.last_inode() < made.ino
        grouped.flush()
        assert late.last_inode() == made.ino


def test_readers_in_the_daemon_flush(grouped: Index) -> None:
    with closing(IndexReader(grouped.path, flush=grouped.flush)) as reader:
        assert add(grouped, b"a").ino == reader.last_inode()


def test_a_log_is_emptied_beside_a_group(grouped: Index) -> None:
    add(grouped, b"a")
    grouped.checkpoint(0)
    assert grouped.log_size() == 0
    assert grouped.is_settled
    add(grouped, b"b")
    assert b"a" in names(grouped)


def test_a_sync_commits_and_syncs(grouped: Index, faulty: FaultyOs) -> None:
    add(grouped, b"a")
    grouped.sync()
    assert faulty.labels == ["index.redo", "index.commit", "index.sync"]


def records(path: Path) -> Path:
    return path.with_name("index.db-redo")


def test_a_torn_record_ends_what_is_carried_out(grouped: Index, home: Path) -> None:
    for name in (b"a", b"torn", b"c"):
        add(grouped, name)
    path = killed(grouped, home / "killed")
    content = records(path).read_bytes().replace(b"torn", b"thrn")
    records(path).write_bytes(content)
    with closing(opened(path)) as found:
        assert set(names(found)) == {b"first", b"a"}


def test_the_records_of_other_times_are_ignored(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    old = killed(grouped, home / "old")
    grouped.flush()
    add(grouped, b"b")
    grouped.flush()
    path = killed(grouped, home / "killed")
    shutil.copyfile(records(old), records(path))
    with closing(opened(path)) as found:
        assert tables(found) == tables(grouped)


def test_what_does_not_fit_the_tables_is_refused(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    ((salt, groups),) = grouped._database.rows("SELECT salt, groups FROM redo")
    wrong = redo.packed(salt, groups + 1, 0, 0, 0, marshal.dumps([("INSERT INTO none", ())]))
    records(path).write_bytes(wrong * 2)
    with pytest.raises(IndexFailed, match=r"index\.db-redo: cannot be carried out.*move it away"):
        opened(path)
    records(path).unlink()
    with closing(opened(path)) as found:
        assert set(names(found)) == {b"first"}


def test_a_link_is_no_redo_log(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    records(path).rename(home / "elsewhere")
    records(path).symlink_to(home / "elsewhere")
    with closing(opened(path)) as found:
        assert set(names(found)) == {b"first"}


def test_an_index_that_needs_it_is_not_opened_to_be_read_only(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    with pytest.raises(VolumeRefused, match="mount the volume once where it can be written"):
        Index(path, SYSTEM, Metrics(), read_only=True)
    with pytest.raises(VolumeRefused, match="mount the volume once where it can be written"):
        settle(path, SYSTEM, Metrics(), writable=False)
    migrate(path, SYSTEM, Metrics())
    with closing(Index(path, SYSTEM, Metrics(), read_only=True)) as found:
        assert b"a" in names(found)


def test_a_check_of_a_damaged_index_leaves_it_as_it_is(grouped: Index, home: Path) -> None:
    add(grouped, b"a")
    path = killed(grouped, home / "killed")
    path.write_bytes(path.read_bytes()[:100] + bytes(5000))
    path.with_name("index.db-wal").unlink()
    settle(path, SYSTEM, Metrics(), writable=True)
    assert records(path).exists()


def without_power(before: Path, after: Path) -> Path:
    """An index of which the redo log was written back, and nothing else."""
    shutil.copyfile(records(after), records(before))
    return before


def test_a_power_cut_may_leave_more_groups_in_the_redo_log_than_in_the_tables(
    grouped: Index, home: Path
) -> None:
    before = killed(grouped, home / "before")
    for name in (b"a", b"b", b"c"):
        add(grouped, name)
        grouped.flush()
    add(grouped, b"d")
    with closing(opened(without_power(before, killed(grouped, home / "after")))) as found:
        assert tables(found) == tables(grouped)


def test_no_record_is_carried_out_without_what_came_before_it(grouped: Index, home: Path) -> None:
    before = killed(grouped, home / "before")
    made = add(grouped, b"a")
    expected = tables(grouped)
    with grouped.transaction():
        grouped.xattrs.put(made.ino, b"user.large", bytes(redo.LARGEST))
    add(grouped, b"b")
    after = killed(grouped, home / "after")
    with closing(opened(without_power(before, after))) as found:
        assert tables(found) == expected
    with closing(opened(after)) as found:
        assert tables(found) == tables(grouped)


@pytest.mark.parametrize("ends", ["killed", "closed"])
def test_a_replay_that_had_to_stop_is_not_continued(grouped: Index, home: Path, ends: str) -> None:
    """Its records of later groups would follow on a state that never had what is missing."""
    before = killed(grouped, home / "before")
    for name in (b"a", b"b"):
        add(grouped, name)
    with grouped.transaction():
        grouped.xattrs.put(add(grouped, b"c").ino, b"user.large", bytes(redo.LARGEST))
    for name in (b"d", b"e"):
        add(grouped, name)
    redo_log = records(killed(grouped, home / "after"))
    path = without_power(before, redo_log.with_name("index.db"))
    with closing(opened(path)) as found:
        assert set(names(found)) == {b"first", b"a", b"b"}
        expected = tables(found)
        if ends == "killed":
            path = killed(found, home / "again")
    if ends == "closed":  # and its removal did not survive a power cut
        shutil.copyfile(redo_log, records(path))
    with closing(opened(path)) as found:
        assert tables(found) == expected


def test_a_commit_in_doubt_has_a_number_of_its_own(grouped: Index, faulty: FaultyOs) -> None:
    """A power cut may keep it, and not what followed: then no record behind that counts."""
    add_around_a_failed_commit(grouped, faulty)
    ((salt, groups),) = grouped._database.rows("SELECT salt, groups FROM redo")
    left = [len(redo.unfinished(grouped.path, salt, groups - lost)) for lost in range(3)]
    assert left == [1, 0, 1], "c; nothing, if only the one in doubt is there; a, if not even that"


def test_what_is_synced_is_written_over(grouped: Index, home: Path) -> None:
    for number in range(4):
        add(grouped, b"%d" % number)
        grouped.sync()
    before = killed(grouped, home / "before")
    add(grouped, b"last")
    after = killed(grouped, home / "after")
    assert b"last" not in records(before).read_bytes()
    assert records(after).read_bytes().index(b"last") < 1000
    with closing(opened(without_power(before, after))) as found:
        assert tables(found) == tables(grouped)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 700)),
        st.tuples(st.sampled_from(["flush", "whole", "sync"]), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS)
def test_what_is_not_synced_stays(places: Iterator[Path], steps: list[tuple[str, int]]) -> None:
    """Whichever commits of SQLite a power cut leaves: those that were synced, or more."""
    place = next(places)
    place.mkdir()
    path = place / "index.db"
    log = redo.RedoLog(path, 7, 4096, SYSTEM)
    appended: list[tuple[int, list[redo.Statement]]] = []
    whole: list[int] = []
    try:
        for step, length in steps:
            fits = True
            if step == "append":
                statements = [("INSERT", (len(appended), bytes(length)))]
                fits = log.append(statements)
                if fits:
                    appended.append((log.committed + 1, statements))
            if step != "append" or not fits:
                is_whole = step in {"append", "whole"}
                log.commits(whole=is_whole)
                whole += [log.committed] if is_whole else []
            if step == "sync":
                log.synced = log.committed
            for groups in range(log.synced, log.committed + 1):
                end = min((one for one in whole if one > groups), default=log.committed + 1)
                there = [made for group, made in appended if groups < group <= end]
                empty = set(range(groups + 1, end + 1)) - {group for group, _ in appended}
                if not empty:
                    found = redo.unfinished(path, 7, groups)
                    assert [record.statements for record in found] == there
    finally:
        log.close()
        shutil.rmtree(place)


OF_EACH: dict[str, list[Row]] = {"feed_state": [], "volume": []}
"""Tables with a random number, and with how many serials are reserved."""

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["add", "rename", "delete", "mark", "large", "refuse", "flush", "sync", "checkpoint"]
        ),
        st.integers(0, 5),
    ),
    max_size=25,
)


def act(index: Index, action: str, number: int) -> None:
    """One change, the same on every index."""
    name, other = b"%d" % number, b"%d" % (number + 1)
    there = index.dentries.find(1, name)
    if action == "add" and there is None:
        add(index, name)
    elif action == "rename" and there and index.dentries.find(1, other) is None:
        with index.transaction():
            index.dentries.rename(1, name, other, there.ino)
    elif action == "delete" and there:
        with index.transaction():
            index.dentries.delete(1, name)
            index.inodes.delete(there.ino)
    elif action in {"mark", "large"} and there:
        with index.transaction():
            size = redo.LARGEST if action == "large" else number
            index.xattrs.put(there.ino, b"user.mark", bytes(size))
    elif action == "refuse" and there:
        with suppress(Refused):
            refused(index, name)
    elif action == "flush":
        index.flush()
    elif action == "sync":
        index.sync()
    elif action == "checkpoint":
        index.checkpoint(0)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Empty directories, one after the other."""
    with directory(tmp_path_factory.mktemp("redo")) as root:
        yield (root / f"{number}" for number in range(1_000_000))


@settings(deadline=None)  # each opens two or three indexes
@given(ACTIONS, st.integers(0, 25))
def test_any_changes_are_those_of_an_index_without_groups(
    places: Iterator[Path], actions: list[tuple[str, int]], kill_after: int
) -> None:
    place = next(places)
    place.mkdir()
    for name in ("plain", "grouped"):
        (place / name).mkdir()
    indexes = [opened(place / name / "index.db") for name in ("plain", "grouped")]
    plain, grouped = indexes
    try:
        for index in indexes:
            index.feed.register("test")
            add(index, b"first")
        grouped.group_commits()
        for done, (action, number) in enumerate(actions):
            for index in indexes:
                act(index, action, number)
            if done < kill_after:
                assert tables(grouped) | OF_EACH == tables(plain) | OF_EACH
            if done == kill_after:
                before = tables(grouped)
                path = killed(grouped, place / "killed")
                grouped.close()
                grouped = indexes[1] = opened(path)
                assert tables(grouped) == before
                grouped.group_commits()
        assert sorted(names(grouped)) == sorted(names(plain))
    finally:
        for index in indexes:
            index.close()
        shutil.rmtree(place)
