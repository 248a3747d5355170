from __future__ import annotations

import os
from pathlib import Path

import pytest

from tierfs.daemon.mountinfo import Mount, mount_above, mount_at, mounts, parse

pytestmark = pytest.mark.once

TABLE = rb"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /mnt/a\040b\134c rw,nosuid shared:5 - fuse.tierfs /im\054ages.yaml rw,user_id=1000,a=b
41 27 0:41 / /mnt/x ro - tmpfs none ro
42 41 0:42 / /mnt/x rw - fuse.tierfs /etc/x.yaml rw,user_id=0
43 27 0:43 / /mnt/s rw - fuse.sshfs  rw
"""


@pytest.fixture
def table() -> list[Mount]:
    return parse(TABLE)


def test_escapes_and_optional_fields(table: list[Mount]) -> None:
    assert table[1] == Mount(
        path=Path("/mnt/a b\\c"),
        fstype="fuse.tierfs",
        source="/im,ages.yaml",
        options="rw,nosuid",
        super_options="rw,user_id=1000,a=b",
        number=40,
        device="0:40",
    )


def test_the_owner_of_a_mount_is_read_from_its_options(table: list[Mount]) -> None:
    assert [mount.owner for mount in table] == [0, 1000, 0, 0, 0]


def test_an_empty_source_is_understood(table: list[Mount]) -> None:
    assert (table[4].source, table[4].super_options) == ("", "rw")


def test_bytes_that_are_no_utf8_survive() -> None:
    (mount,) = parse(b"1 0 0:1 / /\xff rw - tmpfs t rw\n")
    assert os.fsencode(mount.path) == b"/\xff"


def test_the_later_mount_is_on_top(table: list[Mount]) -> None:
    found = mount_at(Path("/mnt/x"), table)
    assert found is not None
    assert found.is_tierfs
    assert mount_at(Path("/mnt"), table) is None


def test_a_mount_is_known_again(table: list[Mount]) -> None:
    moved, reused, bound, next_one = parse(
        b"40 27 0:40 / /mnt/new ro - fuse.tierfs /im,ages.yaml rw\n"
        b"40 27 0:50 / /mnt/a rw - tmpfs none rw\n"
        b"51 27 0:40 / /mnt/b rw - fuse.tierfs /im,ages.yaml rw\n"
        b"40 27 0:40 / /mnt/c rw - fuse.tierfs /other.yaml rw\n"
    )
    assert table[1].is_same(moved)
    assert not table[1].is_same(reused)
    assert not table[1].is_same(bound)
    assert not table[1].is_same(next_one)


def test_the_innermost_mount_above_a_path_is_found(table: list[Mount]) -> None:
    inner = mount_above(Path("/mnt/x/deep/er"), table)
    outer = mount_above(Path("/mnt"), table)
    assert inner is not None
    assert outer is not None
    assert (inner.source, outer.path) == ("/etc/x.yaml", Path("/"))


def test_the_real_table_is_read() -> None:
    assert mount_at(Path("/proc"), mounts()) is not None
