"""What is read ahead, in which order and for whom; no thread and no file."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierfs.announcements.plan import (
    CHECK_EVERY,
    MOST_LEFT,
    PIECE,
    Check,
    File,
    LookUp,
    Plan,
    Rank,
    Read,
    State,
)
from tierfs.announcements.protocol import AHEAD, ProtocolError

MIB = 1024 * 1024
SIZE = 256 * 1024
DEPTH = 8


class Jobs:
    """A plan, a disk that reads `DEPTH` files at a time, and ranks that go on at once."""

    def __init__(self, memory: int, seed: int = 0, size: int = SIZE, head: int = 0) -> None:
        self.plan = Plan(memory, head)
        self.chance = random.Random(seed)
        self.size = size
        self.reading: list[File] = []
        self.read: list[File] = []
        self.left: dict[Rank, list[int]] = {}

    def join(self, files: int, user: int = 0, job: str = "job", name: int = 0) -> Rank:
        """A rank that wants a number of files, in a random order."""
        rank = self.plan.join(user, job, name)
        numbers = list(range(1, files + 1))
        self.chance.shuffle(numbers)
        self.left[rank] = numbers
        return rank

    def tell(self, rank: Rank) -> None:
        """Announce as much as is allowed."""
        left = self.left[rank]
        more = left[: AHEAD - len(rank.files)]
        del left[: len(more)]
        if more:
            self.plan.tell(rank, [str(number) for number in more], last=not left)

    def go_on(self, rank: Rank) -> None:
        """The rank reaches what is ready, as a job does that waits only for the disk."""
        self.plan.reach(rank, rank.ready)

    def work(self) -> bool:
        """Do what can be done until `DEPTH` files are being read, then end one; False: nothing."""
        while len(self.reading) < DEPTH and (work := self.plan.next()) is not None:
            if isinstance(work, LookUp):
                found = [(int(file.path), self.size) for file in work.files]
                self.plan.looked_up(work, found)
            elif isinstance(work, Read):
                self.reading += work.files
                self.read += work.files
            else:
                assert isinstance(work, Check)
                self.plan.checked(is_there=True)
        if not self.reading:
            return False
        done = self.reading.pop(self.chance.randrange(len(self.reading)))
        self.plan.done(done, done.size)
        return True

    def rounds(self) -> Iterator[None]:
        """Work until nothing is left to do; after each step."""
        going = True
        while going:
            for rank in self.plan.ranks:
                self.go_on(rank)
                self.tell(rank)
            going = self.work()
            yield


def test_every_file_is_there_before_its_turn() -> None:
    jobs = Jobs(64 * MIB)
    rank = jobs.join(3000)
    for _ in jobs.rounds():
        pass
    assert (rank.position, rank.hits, rank.late, rank.failed) == (3000, 3000, 0, 0)
    assert sorted(file.ino for file in jobs.read) == list(range(1, 3001))
    assert rank.characters == 0


def test_windows_are_read_in_disk_order() -> None:
    jobs = Jobs(64 * MIB)
    jobs.join(3000)
    for _ in jobs.rounds():
        pass
    inos = [file.ino for file in jobs.read]
    falls = sum(b < a for a, b in pairwise(inos))
    assert falls <= 1 + 6 + 3000 // (32 * MIB // SIZE)


def test_a_window_follows_without_a_pause() -> None:
    """Where the disk is all that is waited for, it always has something to read."""
    jobs = Jobs(64 * MIB)
    jobs.join(3000)
    for _ in jobs.rounds():
        if 1000 < len(jobs.read) < 2900:
            assert len(jobs.reading) >= DEPTH - 2


@pytest.mark.parametrize("files", [1, 2, 7, 100])
def test_a_short_order_is_read_to_its_end(files: int) -> None:
    jobs = Jobs(64 * MIB)
    rank = jobs.join(files)
    for _ in jobs.rounds():
        pass
    assert rank.hits == files


def test_no_more_is_ahead_than_the_memory_holds() -> None:
    jobs = Jobs(16 * MIB)
    ranks = [jobs.join(500, user, "job", name) for user in (1, 2) for name in (0, 1)]
    for _ in jobs.rounds():
        assert sum(rank.ahead for rank in ranks) <= 16 * MIB


def test_a_job_that_does_not_go_on_fills_its_share_and_no_more() -> None:
    jobs = Jobs(16 * MIB)
    rank = jobs.join(500)
    jobs.tell(rank)
    while jobs.work():
        pass
    assert 8 * MIB <= rank.ahead <= 16 * MIB


def served(jobs: Jobs) -> Counter[Rank]:
    return Counter(file.rank for file in jobs.read)


def test_two_jobs_share_the_disk() -> None:
    jobs = Jobs(64 * MIB)
    one, other = jobs.join(3000, 1), jobs.join(3000, 2)
    for _ in jobs.rounds():
        if len(jobs.read) == 3000:
            break
    count = served(jobs)
    assert 0.9 < count[one] / count[other] < 1.1


def test_a_job_that_comes_later_gets_its_half_at_once_and_no_more() -> None:
    jobs = Jobs(64 * MIB)
    one = jobs.join(9000, 1)
    rounds = jobs.rounds()
    while len(jobs.read) < 2000:
        next(rounds)
    other = jobs.join(9000, 2)
    before = served(jobs)[one]
    while len(jobs.read) < 5000:
        next(rounds)
    count = served(jobs)
    assert 0.85 < (count[one] - before) / count[other] < 1.15


def test_a_user_gets_no_more_by_more_jobs() -> None:
    jobs = Jobs(64 * MIB)
    many = [jobs.join(3000, 1, f"job {number}") for number in range(4)]
    one = jobs.join(3000, 2)
    for _ in jobs.rounds():
        if len(jobs.read) == 4000:
            break
    count = served(jobs)
    assert 0.8 < sum(count[rank] for rank in many) / count[one] < 1.25


def test_a_slow_job_holds_nobody_up() -> None:
    jobs = Jobs(64 * MIB)
    slow, fast = jobs.join(3000, 1), jobs.join(2000, 2)
    jobs.tell(slow)
    rank_going = jobs.rounds()
    jobs.go_on = lambda rank: (  # type: ignore[method-assign]
        jobs.plan.reach(rank, rank.ready) if rank is fast else None
    )
    for _ in rank_going:
        pass
    assert fast.hits == 2000


def test_nothing_is_read_for_a_rank_that_has_left() -> None:
    jobs = Jobs(64 * MIB)
    rank = jobs.join(3000)
    for _ in jobs.rounds():
        if len(jobs.read) == 100:
            break
    jobs.plan.leave(rank)
    while jobs.work():
        pass
    assert len(jobs.read) <= 100 + DEPTH
    assert jobs.plan.next() is None


def test_what_cannot_be_read_delays_nothing() -> None:
    plan = Plan(MIB)
    rank = plan.join(0, "", 0)
    plan.tell(rank, [None, "missing", None], last=True)
    work = plan.next()
    assert isinstance(work, LookUp)
    plan.looked_up(work, [None])
    assert plan.next() is None
    assert rank.ready == 3
    plan.reach(rank, 3)
    assert rank.failed == 3


def test_files_that_need_no_disk_are_read_several_in_a_row() -> None:
    plan = Plan(MIB, head=64 * 1024)
    rank = plan.join(0, "", 0)
    plan.tell(rank, [str(number) for number in range(20)], last=True)
    work = plan.next()
    assert isinstance(work, LookUp)
    sizes = [1000] * 10 + [100_000] + [1000] * 9
    plan.looked_up(work, list(zip(range(1, 21), sizes, strict=True)))
    runs = []
    while (work := plan.next()) is not None:
        assert isinstance(work, Read)
        runs.append([file.ino for file in work.files])
        for file in work.files:
            plan.done(file, file.size)
    assert [len(run) for run in runs if 11 not in run] == [8, 2, 8, 1]
    assert [11] in runs
    assert rank.ready == 20


def looked_up(plan: Plan, sizes: Sequence[int]) -> None:
    work = plan.next()
    assert isinstance(work, LookUp)
    plan.looked_up(work, [(file.number + 1, sizes[file.number]) for file in work.files])


def announced(plan: Plan, files: int) -> Rank:
    rank = plan.join(0, "", 0)
    plan.tell(rank, [str(number) for number in range(files)])
    return rank


NEAR, FAR = 1000, SIZE


def test_files_that_need_no_disk_are_left_to_the_job_while_cores_are_missing() -> None:
    plan = Plan(MIB, head=64 * 1024)
    rank = announced(plan, 200)
    plan.ran(1.0, 2.0)
    looked_up(plan, [NEAR] * 200)
    assert rank.ready == 2 * PIECE  # these and as many that were not looked up
    looked_up(plan, [NEAR] * 200)
    assert rank.ready == 200
    assert plan.next() is None
    plan.reach(rank, 200)
    assert (rank.left, rank.hits, rank.late, rank.failed) == (200, 0, 0, 0)


def test_a_few_of_those_that_are_left_are_looked_up() -> None:
    plan = Plan(MIB, head=64 * 1024)
    rank = announced(plan, AHEAD)
    plan.ran(1.0, 2.0)
    pieces = 0
    while (work := plan.next()) is not None:
        assert isinstance(work, LookUp)
        pieces += 1
        plan.looked_up(work, [(file.number + 1, NEAR) for file in work.files])
    assert rank.ready == AHEAD
    assert pieces <= 5 + AHEAD // PIECE // MOST_LEFT


@pytest.mark.parametrize("sizes", [[FAR] * PIECE, [NEAR] * (PIECE - 1) + [FAR]])
def test_files_that_need_the_disk_are_read_however_busy_the_cores_are(sizes: list[int]) -> None:
    plan = Plan(1024 * MIB, head=64 * 1024)
    rank = announced(plan, PIECE)
    plan.ran(1.0, 2.0)
    looked_up(plan, sizes)
    read = plan.next()
    assert isinstance(read, Read)
    assert rank.left_to == rank.looked


def test_large_files_after_small_ones_are_looked_up_before_many_are_left() -> None:
    """At first one piece is left, and then twice as many each time."""
    plan = Plan(1024 * MIB, head=64 * 1024)
    rank = announced(plan, AHEAD)
    plan.ran(1.0, 2.0)
    looked_up(plan, [NEAR] * AHEAD)
    looked_up(plan, [FAR] * AHEAD)
    assert (rank.looked, rank.leave) == (3 * PIECE, 0)


def test_cores_are_free_again_only_when_they_are_clearly_so() -> None:
    plan = Plan(MIB)
    crowded = []
    for waited in (0.6, 0.4, 0.0, 0.0, 0.4):
        plan.ran(1.0, waited)
        crowded.append(plan.is_crowded)
    assert crowded == [True, True, True, False, False]


def test_what_waits_to_be_read_is_left_when_cores_become_scarce() -> None:
    plan = Plan(MIB, head=64 * 1024)
    rank = announced(plan, 20)
    plan.tell(rank, [], last=True)
    looked_up(plan, [NEAR] * 10 + [FAR] + [NEAR] * 9)
    first = plan.next()
    assert isinstance(first, Read)
    plan.ran(1.0, 2.0)
    rest: list[File] = []
    while (work := plan.next()) is not None:
        assert isinstance(work, Read)
        rest += work.files
        for file in work.files:
            plan.done(file, file.size)
    for file in first.files:
        plan.done(file, file.size)
    assert [file.size for file in rest if file.size > NEAR] == [SIZE]
    assert len(rest) <= 2
    assert rank.ready == 20


def test_what_is_to_come_is_looked_up_far_ahead() -> None:
    jobs = Jobs(16 * MIB)
    rank = jobs.join(3000)
    rounds = jobs.rounds()
    while rank.looked < 3000:
        next(rounds)
    upcoming = jobs.plan.upcoming(1000 * SIZE)
    assert len(upcoming) == 1000
    by_turn = {file.ino: file.number - rank.position for file in rank.files.values()}
    assert upcoming == {ino: before for ino, before in by_turn.items() if before < 1000}


def test_each_user_may_declare_so_much() -> None:
    jobs = Jobs(64 * MIB)
    one, other = jobs.join(300, 1), jobs.join(300, 2)
    for rank in (one, other):
        jobs.tell(rank)
    while jobs.work():
        pass
    assert len(jobs.plan.upcoming(100 * SIZE)) <= 200
    jobs.plan.leave(other)
    assert len(jobs.plan.upcoming(100 * SIZE)) == 100
    jobs.plan.leave(one)
    assert jobs.plan.upcoming(100 * SIZE) == {}


def test_windows_shrink_while_what_was_read_is_gone_and_grow_again() -> None:
    plan = Plan(1024 * MIB)
    rank = plan.join(0, "", 0)
    whole = rank.share
    for _ in range(100):
        plan.checked(is_there=False)
    assert rank.share == whole // 16
    for _ in range(256):
        plan.checked(is_there=True)
    assert rank.share == whole


def test_the_file_that_comes_next_is_looked_at_whether_it_is_still_there() -> None:
    plan = Plan(1024 * MIB)
    rank = announced(plan, 2 * CHECK_EVERY)
    plan.tell(rank, [], last=True)
    while (work := plan.next()) is not None:
        if isinstance(work, LookUp):
            plan.looked_up(work, [(file.number + 1, SIZE) for file in work.files])
        else:
            assert isinstance(work, Read)
            for file in work.files:
                plan.done(file, SIZE)
    plan.reach(rank, CHECK_EVERY)
    check = plan.next()
    assert isinstance(check, Check)
    assert check.file.number == CHECK_EVERY
    assert plan.next() is None


def test_more_than_the_limit_is_refused() -> None:
    plan = Plan(MIB)
    rank = plan.join(0, "", 0)
    plan.tell(rank, ["x"] * AHEAD)
    with pytest.raises(ProtocolError):
        plan.tell(rank, ["x"])
    with pytest.raises(ProtocolError):
        plan.tell(plan.join(0, "", 1), ["x" * 4096] * 300)


@pytest.mark.parametrize("position", [1, 6])
def test_a_position_goes_on_and_not_beyond_what_was_told(position: int) -> None:
    plan = Plan(MIB)
    rank = plan.join(0, "", 0)
    plan.tell(rank, ["x"] * 5)
    plan.reach(rank, 2)
    with pytest.raises(ProtocolError):
        plan.reach(rank, position)


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 300)), max_size=80)


@settings(deadline=None)
@given(STEPS, st.integers(1, 64), st.integers(0, 2**32), st.sampled_from([0, SIZE]))
def test_the_books_are_right_whatever_happens(
    steps: list[tuple[int, int, int]], memory: int, seed: int, head: int
) -> None:
    """Ranks that tell, jump ahead, come and go, while files are found, fail and are read."""
    jobs = Jobs(memory * MIB, seed, head=head)
    for what, which, number in steps:
        ranks = jobs.plan.ranks
        rank = ranks[which % len(ranks)] if ranks else jobs.join(600, which % 2, f"{which % 3}")
        if what == 0:
            jobs.tell(rank)
        elif what == 1:
            jobs.plan.reach(rank, min(rank.told, rank.position + number))
        elif what == 2 and number % 20 == 0:
            jobs.plan.leave(rank)
        elif what == 3 and number % 7 == 0 and len(ranks) < 6:
            jobs.join(600, which % 2, f"{which % 3}")
        elif what == 4:
            jobs.plan.ran(number, 150)
        for _ in range(number % 40):
            jobs.work()
        for one in jobs.plan.ranks:
            files = one.files.values()
            assert one.position <= one.ready <= one.told
            assert one.ahead == sum(file.size for file in files if file.number < one.planned)
            states = Counter(file.state.name for file in files)
            assert (one.queued, one.found_files) == (states["QUEUED"], states["FOUND"])
            assert one.found == sum(file.size for file in files if file.state is State.FOUND)
            assert one.reading >= states["READING"]
    while jobs.work():
        pass
    assert not any(rank.queued or rank.reading for rank in jobs.plan.ranks)
