"""When a policy file counts as saved: decided by looks at it, here at made-up and at real files."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.daemon.policy import Seen, Stamp, Watch, stat_file

pytestmark = pytest.mark.once

OLD = Stamp(1, 10, 100, 1000, 1000)
NEW = Stamp(1, 10, 120, 2000, 2000)
HALF = Stamp(1, 10, 60, 1999, 1999)
RENAMED = Stamp(1, 11, 100, 1000, 1000)
READABLE = OLD._replace(changed=2000)
GONE = errno.ENOENT


def due(*looks: Seen) -> list[int]:
    """At which of the looks, counted from 0, a file that was OLD is read again."""
    watch = Watch(OLD)
    found = []
    for number, look in enumerate(looks):
        if watch.is_due(look):
            watch.was_read(look)
            found.append(number)
    return found


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([OLD, OLD, OLD], []),
        ([OLD, NEW, NEW, NEW, NEW], [2]),
        ([HALF, NEW, NEW], [2]),
        ([HALF, NEW, OLD, NEW, HALF], []),
        ([RENAMED, RENAMED], [1]),
        ([READABLE, READABLE], [1]),
        ([GONE, NEW, NEW], [2]),
        ([GONE, OLD, OLD], []),
        ([GONE, GONE, GONE, OLD, OLD], [1, 4]),
        ([GONE, GONE, errno.EACCES, errno.EACCES, NEW, NEW], [1, 3, 5]),
        ([NEW, NEW, OLD, OLD], [1, 3]),
    ],
    ids=[
        "untouched",
        "saved",
        "caught half-written",
        "never at rest",
        "renamed over",
        "made readable",
        "removed and written anew",
        "gone for a moment",
        "gone for good, then back",
        "in one trouble after the other",
        "changed and put back",
    ],
)
def test_what_is_read_when(looks: list[Seen], expected: list[int]) -> None:
    assert due(*looks) == expected


STATES = [OLD, NEW, HALF, RENAMED, GONE]


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=20))
def test_what_rests_is_taken_and_nothing_else(looks: list[Seen]) -> None:
    watch = Watch(OLD)
    taken: Seen = OLD
    before: Seen = OLD
    for look in looks:
        if watch.is_due(look):
            assert look == before
            watch.was_read(look)
            taken = look
        if look == before:
            assert taken == look
        before = look


def test_a_file_read_on_request_is_not_due_any_more() -> None:
    watch = Watch(OLD)
    assert not watch.is_due(NEW)
    watch.was_read(NEW)
    assert not watch.is_due(NEW)
    assert not watch.is_due(NEW)


def test_a_look_tells_ways_of_saving_apart(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    seen = [stat_file(path)]
    assert seen == [errno.ENOENT]
    path.write_text("one")
    seen.append(stat_file(path))
    path.write_text("three")
    seen.append(stat_file(path))
    (tmp_path / "new").write_text("seven")
    (tmp_path / "new").rename(path)
    seen.append(stat_file(path))
    path.chmod(0o600)
    seen.append(stat_file(path))
    path.unlink()
    path.symlink_to("policy.yaml")
    seen.append(stat_file(path))
    assert len(set(seen)) == len(seen)
    assert seen[-1] == errno.ELOOP


def test_a_link_in_the_middle_is_followed(tmp_path: Path) -> None:
    """As Kubernetes changes a ConfigMap: it renames a new link over ``..data``."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text("same size")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    before = stat_file(tmp_path / "policy.yaml")
    (tmp_path / "..data_tmp").symlink_to("v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert stat_file(tmp_path / "policy.yaml") != before
