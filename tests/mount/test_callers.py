"""What the kernel tells of a process, and what is supposed where it tells nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tierfs.daemon.callers import Credentials, ProcessCaller, credentials

pytestmark = pytest.mark.once

STATUS = "Name:\ta:b\nGroups:\t4 27 \nCapEff:\t0000000000200010\n"


def caller(pid: int, uid: int, gid: int) -> ProcessCaller:
    return ProcessCaller(uid, gid, pid)


def process(proc: Path, name: str, namespace: str = "user:[1]") -> None:
    (proc / name / "ns").mkdir(parents=True)
    (proc / name / "status").write_text(STATUS)
    (proc / name / "ns/user").symlink_to(namespace)


def test_groups_and_capabilities(tmp_path: Path) -> None:
    process(tmp_path, "self")
    process(tmp_path, "7")
    assert credentials(7, tmp_path) == Credentials(frozenset({4, 27}), 1 << 21 | 1 << 4)


def test_capabilities_of_another_user_namespace_do_not_count(tmp_path: Path) -> None:
    process(tmp_path, "self")
    process(tmp_path, "7", "user:[2]")
    assert credentials(7, tmp_path) == Credentials(frozenset({4, 27}), 0)


def test_a_process_that_cannot_be_seen(tmp_path: Path) -> None:
    assert credentials(0, tmp_path) is None


@pytest.mark.parametrize(("uid", "may"), [(0, True), (1000, False)])
def test_of_an_unknown_process_the_user_decides(uid: int, *, may: bool) -> None:
    unknown = caller(0, uid, 5)
    assert (unknown.keeps_set_id(), unknown.administers(), unknown.in_group(6)) == (may, may, may)
    assert unknown.in_group(5)
    assert (unknown.owns(uid), unknown.owns(uid + 1)) == (True, may)


def test_this_process_is_in_its_groups() -> None:
    this = caller(os.getpid(), os.getuid(), os.getgid())
    assert all(this.in_group(group) for group in (*os.getgroups(), os.getgid()))
