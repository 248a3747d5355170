"""What a file's virtual attributes say, who may set them, and what becomes of that."""

from __future__ import annotations

import errno
import os
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fs.calls import (
    DIRECTORY,
    FIFO,
    ME,
    SYMLINK,
    Somebody,
    fails,
    file_of,
    make,
)
from tests.fs.scenarios import HEAD, pattern
from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.tierfs_xattrs import LONGEST, parse_pin, parse_prefix, show_pin
from tierfs.common.units import KIB, SECOND
from tierfs.fs.xattrs import OF_FILES, PIN, PINNED_BY, PREFIX, REQUESTED, WRITABLE
from tierfs.metadata.header_facts import FactState
from tierfs.metadata.inodes import ROOT
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.metadata.reader import IndexReader

HOUR = 3600 * SECOND
OWNER = Somebody(uid=ME.uid)
BAD_PINS = [b"", b" ", b"0", b"no", b"false", b"2", b"-1h", b"6", b"6m", b"0s", b"0.5s", b"1000y"]
BAD_SIZES = [b"", b"-1", b"64K", b"some", b"1.5", b"all of it", b"1e3", b"9000PiB"]
NO_TEXT = [b"1\0", b"\xff", b"\xef\xbc\x96h", b"1" * (LONGEST + 1), bytes(65536)]


def pins(volume: LooseVolume) -> list[Pin]:
    """Every pin."""
    with closing(IndexReader(volume.index.path)) as survey:
        return survey.pins(0, 10)


def requests(volume: LooseVolume) -> list[Request]:
    """Every request."""
    with closing(IndexReader(volume.index.path)) as survey:
        return survey.requests(0, 10)


@pytest.fixture
def ino(small: LooseVolume) -> int:
    return make(small, b"file").ino


def place(volume: LooseVolume, ino: int, size: int, prefix: int, mirrored: int = 0) -> None:
    """Change the file's row as a write and a move would."""
    with volume.index.transaction():
        row = volume.index.inodes.get(ino)
        volume.index.inodes.update(row._replace(size=size, prefix=prefix, mirrored=mirrored))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("size", "prefix", "location"),
    [
        (0, HEAD, b"flash"),
        (HEAD, HEAD, b"flash"),
        (HEAD + 1, HEAD, b"split"),
        (10, 0, b"disk"),
        (0, 0, b"disk"),
        (10**6, WHOLE_FILE, b"flash"),
    ],
)
def test_where_the_bytes_are(
    small: LooseVolume, ino: int, size: int, prefix: int, location: bytes
) -> None:
    place(small, ino, size=size, prefix=prefix)
    get = small.fs.xattrs.get
    assert get(ino, b"tierfs.location") == location
    assert get(ino, PREFIX) == (b"all" if prefix == WHOLE_FILE else b"%d" % prefix)
    assert get(ino, b"tierfs.inode") == b"%d" % ino
    place(small, ino, size=0, prefix=HEAD)  # so that the volume closes in order


@pytest.mark.parametrize(
    ("size", "prefix", "mirrored", "said"),
    [
        (10, HEAD, 0, b"no"),
        (10, HEAD, 1, b"yes"),
        (0, HEAD, 0, b"yes"),
        (10, 0, 0, b"yes"),
        (10**6, WHOLE_FILE, 0, b"no"),
    ],
)
def test_mirrored_says_whether_flash_can_be_lost(
    small: LooseVolume, ino: int, size: int, prefix: int, mirrored: int, said: bytes
) -> None:
    place(small, ino, size=size, prefix=prefix, mirrored=mirrored)
    assert small.fs.xattrs.get(ino, b"tierfs.mirrored") == said
    place(small, ino, size=0, prefix=HEAD)


def test_the_location_follows_a_spill(small: LooseVolume) -> None:
    ino = file_of(small, pattern(100))
    small.os.full = {"flash.pwrite"}
    small.fs.data.write(ino, 100, b"more")
    assert small.fs.xattrs.get(ino, b"tierfs.location") == b"disk"
    assert small.fs.xattrs.get(ino, PREFIX) == b"0"


@pytest.mark.parametrize("mode", [SYMLINK, FIFO])
def test_what_has_no_bytes_has_no_place(small: LooseVolume, mode: int) -> None:
    ino = make(small, b"name", mode).ino
    for name in (*OF_FILES, PIN, REQUESTED):
        with fails(errno.ENODATA):
            small.fs.xattrs.get(ino, name)
    for name in WRITABLE:
        with fails(errno.EOPNOTSUPP):
            small.fs.xattrs.set(ino, name, b"1")
    with fails(errno.EOPNOTSUPP):
        small.fs.xattrs.remove(ino, PIN)
    assert small.fs.xattrs.get(ino, b"tierfs.inode") == b"%d" % ino


def test_the_volume_is_an_attribute_of_the_root(small: LooseVolume, ino: int) -> None:
    assert small.fs.xattrs.get(ROOT, b"tierfs.volume") == str(small.volume.uuid).encode()
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, b"tierfs.volume")


READ_ONLY = [*sorted(OF_FILES.keys() - WRITABLE), REQUESTED, b"tierfs.inode", b"tierfs.head"]


@pytest.mark.parametrize("name", [*READ_ONLY, b"tierfs.volume", b"tierfs.unknown", b"tierfs."])
def test_the_others_cannot_be_set(small: LooseVolume, ino: int, name: bytes) -> None:
    with fails(errno.EPERM):
        small.fs.xattrs.set(ino, name, b"1")
    with fails(errno.EPERM):
        small.fs.xattrs.remove(ino, name)


def test_no_virtual_attribute_is_listed(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, PIN, b"1")
    small.fs.xattrs.set(ino, PREFIX, b"all")
    assert small.fs.xattrs.names(ino) == []


def test_an_unknown_attribute_or_inode_has_no_value(small: LooseVolume, ino: int) -> None:
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, b"tierfs.unknown")
    for name in (b"tierfs.inode", PIN, REQUESTED):
        with fails(errno.ESTALE):
            small.fs.xattrs.get(999, name)
    with fails(errno.ESTALE):
        small.fs.xattrs.set(999, PIN, b"1")


# ---------------------------------------------------------------- pins


@pytest.mark.parametrize("value", [b"1", b"true", b"yes", b"Yes", b" 1\n"])
def test_a_pin_without_an_end_survives_a_mount(small: LooseVolume, ino: int, value: bytes) -> None:
    small.fs.xattrs.set(ino, PIN, value)
    small.reopen()
    assert small.fs.xattrs.get(ino, PIN) == b"1"
    assert pins(small) == [Pin(ino, None)]


@pytest.mark.parametrize(
    ("value", "length"), [(b"6h", 6 * HOUR), (b"1s", SECOND), (b" 1.5 h\n", HOUR * 3 // 2)]
)
def test_pinned_for_a_while(small: LooseVolume, ino: int, value: bytes, length: int) -> None:
    small.clock.now = 1_900_000_000 * SECOND + 5
    small.fs.xattrs.set(ino, PIN, value)
    assert pins(small) == [Pin(ino, small.clock.now + length)]


def test_a_pin_tells_when_it_ends_and_ends_then(small: LooseVolume, ino: int) -> None:
    small.clock.now = 1_900_000_000 * SECOND + 5
    small.fs.xattrs.set(ino, PIN, b"6h")
    assert small.fs.xattrs.get(ino, PIN) == b"2030-03-17T23:46:40Z"
    small.clock.now += 6 * HOUR - 1
    assert small.fs.xattrs.get(ino, PIN) == b"2030-03-17T23:46:40Z"
    small.clock.now += 1
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, PIN)
    with fails(errno.ENODATA):
        small.fs.xattrs.remove(ino, PIN)
    assert pins(small) == []


def test_the_last_pin_holds(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, PIN, b"6h")
    small.fs.xattrs.set(ino, PIN, b"1")
    assert pins(small) == [Pin(ino, None)]


def test_a_pin_ends_before_the_clock_does(small: LooseVolume, ino: int) -> None:
    small.clock.now = 2**63 - SECOND
    small.fs.xattrs.set(ino, PIN, b"100y")
    assert small.fs.xattrs.get(ino, PIN) == b"2262-04-11T23:47:16Z"


def test_a_pin_is_removed_once(small: LooseVolume, ino: int) -> None:
    with fails(errno.ENODATA):
        small.fs.xattrs.remove(ino, PIN)
    small.fs.xattrs.set(ino, PIN, b"1")
    small.fs.xattrs.remove(ino, PIN)
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, PIN)


@pytest.mark.parametrize("value", [*BAD_PINS, *NO_TEXT])
def test_what_is_no_pin(small: LooseVolume, ino: int, value: bytes) -> None:
    with fails(errno.EINVAL):
        small.fs.xattrs.set(ino, PIN, value)
    assert small.index.pins_and_requests.pin_of(ino) is None


# ---------------------------------------------------------------- prefixes


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        (b"all", WHOLE_FILE),
        (b"ALL\n", WHOLE_FILE),
        (b"none", 0),
        (b"0", 0),
        (b"1", 4 * KIB),
        (b"4096", 4 * KIB),
        (b"4097", 8 * KIB),
        (b"1MiB", 1024 * KIB),
        (b"1 MB", 245 * 4 * KIB),
        (b"%d" % (2**63 - 1), WHOLE_FILE),
    ],
)
def test_a_prefix_is_asked_for(small: LooseVolume, ino: int, value: bytes, prefix: int) -> None:
    small.fs.xattrs.set(ino, PREFIX, value)
    small.reopen()
    assert requests(small) == [Request(ino, prefix)]
    if prefix != HEAD:  # as it is already
        shown = b"all" if prefix == WHOLE_FILE else b"%d" % prefix
        assert small.fs.xattrs.get(ino, REQUESTED) == shown
    assert small.fs.xattrs.get(ino, PREFIX) == b"%d" % HEAD, "nothing has been moved yet"


def test_what_was_done_is_asked_for_no_longer(small: LooseVolume, ino: int) -> None:
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, REQUESTED)
    small.fs.xattrs.set(ino, PREFIX, b"none")
    small.fs.xattrs.set(ino, PREFIX, b"all")
    with small.index.transaction():
        small.index.pins_and_requests.settle(Request(ino, 0))  # the older one
    assert small.fs.xattrs.get(ino, REQUESTED) == b"all"
    with small.index.transaction():
        small.index.pins_and_requests.settle(Request(ino, WHOLE_FILE))
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, REQUESTED)


def test_what_is_reached_is_requested_no_longer(small: LooseVolume, ino: int) -> None:
    """The mover takes the request back a second later or so, which is nobody's concern."""
    small.fs.xattrs.set(ino, PREFIX, b"%d" % HEAD)
    assert requests(small) == [Request(ino, HEAD)]
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, REQUESTED)


@pytest.mark.parametrize("value", [*BAD_SIZES, *NO_TEXT])
def test_what_is_no_prefix(small: LooseVolume, ino: int, value: bytes) -> None:
    with fails(errno.EINVAL):
        small.fs.xattrs.set(ino, PREFIX, value)
    assert small.index.pins_and_requests.request_of(ino) is None


def test_a_prefix_cannot_be_removed(small: LooseVolume, ino: int) -> None:
    with fails(errno.EPERM):
        small.fs.xattrs.remove(ino, PREFIX)


@pytest.mark.parametrize("value", [b"none", b"64KiB"])
def test_a_pinned_file_is_not_sent_away(small: LooseVolume, ino: int, value: bytes) -> None:
    small.fs.xattrs.set(ino, PIN, b"1h")
    with fails(errno.EBUSY):
        small.fs.xattrs.set(ino, PREFIX, value)
    small.fs.xattrs.set(ino, PREFIX, b"all")
    small.clock.now += HOUR
    small.fs.xattrs.set(ino, PREFIX, value)


def test_a_pin_outdoes_what_was_asked_for_before(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, PREFIX, b"none")
    small.fs.xattrs.set(ino, PIN, b"1")
    with fails(errno.ENODATA):
        small.fs.xattrs.get(ino, REQUESTED)


@given(st.binary(max_size=12) | st.text(max_size=12).map(str.encode))
def test_every_value_is_parsed_or_refused(value: bytes) -> None:
    for parse in (parse_pin, parse_prefix):
        try:
            result = parse(value)
        except ValueError:
            continue
        assert result is None or 0 <= result < 2**63


# ---------------------------------------------------------------- who, and how


@pytest.mark.parametrize(("name", "value"), [(PIN, b"1"), (PREFIX, b"all")])
def test_only_the_owner_and_the_privileged(
    small: LooseVolume, ino: int, name: bytes, value: bytes
) -> None:
    with fails(errno.EPERM):
        small.fs.xattrs.set(ino, name, value, caller=Somebody(ME.gid))
    small.fs.xattrs.set(ino, name, value, caller=OWNER)
    small.fs.xattrs.set(ino, name, value)


def test_only_the_owner_and_the_privileged_unpin(small: LooseVolume, ino: int) -> None:
    small.fs.xattrs.set(ino, PIN, b"1")
    with fails(errno.EPERM):
        small.fs.xattrs.remove(ino, PIN, caller=Somebody(ME.gid))
    small.fs.xattrs.remove(ino, PIN, caller=OWNER)


def test_the_flags_create_and_replace_count_for_virtual_attributes(
    small: LooseVolume, ino: int
) -> None:
    put = small.fs.xattrs.set
    with fails(errno.ENODATA):
        put(ino, PIN, b"1", os.XATTR_REPLACE)
    put(ino, PIN, b"6h", os.XATTR_CREATE)
    with fails(errno.EEXIST):
        put(ino, PIN, b"1", os.XATTR_CREATE)
    put(ino, PIN, b"1", os.XATTR_REPLACE)
    assert small.fs.xattrs.get(ino, PIN) == b"1"
    with fails(errno.EEXIST):
        put(ino, PREFIX, b"all", os.XATTR_CREATE)
    put(ino, PREFIX, b"all", os.XATTR_REPLACE)


def test_neither_times_nor_version_change(small: LooseVolume, ino: int) -> None:
    before = small.fs.attributes.get(ino)
    small.clock.tick()
    small.fs.xattrs.set(ino, PREFIX, b"none")
    small.fs.xattrs.set(ino, PIN, b"1")
    small.fs.xattrs.remove(ino, PIN)
    assert small.fs.attributes.get(ino) == before


@pytest.mark.parametrize("label", ["index.commit"])
def test_nothing_is_noted_by_halves(small: LooseVolume, ino: int, label: str) -> None:
    small.fs.xattrs.set(ino, PREFIX, b"none")
    small.os.full = {label}
    with pytest.raises((FsError, OSError)):
        small.fs.xattrs.set(ino, PIN, b"1")
    small.os.full = set()
    assert small.index.pins_and_requests.pin_of(ino) is None
    assert small.index.pins_and_requests.request_of(ino) == Request(ino, 0)


def test_pins_and_requests_end_with_their_file(small: LooseVolume) -> None:
    ino = file_of(small, pattern(100))
    small.fs.xattrs.set(ino, PREFIX, b"all")
    small.fs.xattrs.set(ino, PIN, b"1")
    small.fs.xattrs.set(ino, PREFIX, b"all")
    small.fs.names.unlink(ROOT, b"file")
    small.reopen()  # the kernel knows nothing any longer, and what is left behind is freed
    assert pins(small) == []
    assert requests(small) == []


# ---------------------------------------------------------------- pins of directories


def test_a_pin_of_a_directory_holds_for_all_below_it(small: LooseVolume) -> None:
    upper = make(small, b"upper", DIRECTORY).ino
    lower = make(small, b"lower", DIRECTORY, upper).ino
    beside = make(small, b"beside").ino
    small.fs.xattrs.set(upper, PIN, b"6h")
    file = make(small, b"file", parent=lower).ino  # made later
    until = show_pin(small.clock.now + 6 * HOUR)
    assert small.fs.xattrs.get(upper, PIN) == until
    assert small.fs.xattrs.get(file, PINNED_BY) == until + b" /upper"
    assert small.fs.xattrs.get(lower, PINNED_BY) == until + b" /upper"
    for ino, name in [(file, PIN), (upper, PINNED_BY), (beside, PINNED_BY), (ROOT, PINNED_BY)]:
        with fails(errno.ENODATA):
            small.fs.xattrs.get(ino, name)
    with fails(errno.EBUSY):
        small.fs.xattrs.set(file, PREFIX, b"none")
    small.fs.xattrs.set(lower, PIN, b"1")
    assert small.fs.xattrs.get(file, PINNED_BY) == b"1 /upper/lower"  # the nearest
    small.fs.xattrs.remove(lower, PIN)
    small.clock.now += 7 * HOUR
    with fails(errno.ENODATA):
        small.fs.xattrs.get(file, PINNED_BY)
    small.fs.xattrs.set(file, PREFIX, b"none")


def test_the_pin_of_a_directory_goes_with_it(small: LooseVolume) -> None:
    directory = make(small, b"directory", DIRECTORY).ino
    small.fs.xattrs.set(directory, PIN, b"1")
    small.fs.names.forget(directory)
    small.fs.names.rmdir(ROOT, b"directory")
    small.fs.reclaimer.drain()
    assert pins(small) == []


def test_what_moves_out_is_pinned_no_longer(small: LooseVolume) -> None:
    directory = make(small, b"directory", DIRECTORY).ino
    file = make(small, b"file").ino
    small.fs.xattrs.set(directory, PIN, b"1")
    small.fs.names.rename(ROOT, b"file", directory, b"file")
    assert small.fs.xattrs.get(file, PINNED_BY) == b"1 /directory"
    small.fs.names.rename(directory, b"file", ROOT, b"file")
    with fails(errno.ENODATA):
        small.fs.xattrs.get(file, PINNED_BY)


def test_only_its_owner_pins_a_directory(small: LooseVolume) -> None:
    directory = make(small, b"directory", DIRECTORY).ino
    with fails(errno.EPERM):
        small.fs.xattrs.set(directory, PIN, b"1", caller=Somebody(uid=ME.uid + 1))
    with fails(errno.EOPNOTSUPP):
        small.fs.xattrs.set(directory, PREFIX, b"all")


def test_a_header_fact_is_for_who_may_read_the_file(small: LooseVolume, ino: int) -> None:
    version = small.index.inodes.get(ino).version
    with small.index.transaction():
        small.index.header_facts.put(
            FactState(ino, version, "test", 1, None, 5), {"image.width": 7, "image.format": "PNG"}
        )
    xattrs = small.fs.xattrs
    assert xattrs.get(ino, b"tierfs.fact.image.width") == b"7"
    assert xattrs.get(ino, b"tierfs.fact.image.format") == b"PNG"
    with fails(errno.ENODATA):
        xattrs.get(ino, b"tierfs.fact.image.height")
    with fails(errno.ENODATA):
        xattrs.get(ino, b"tierfs.fact.\xff")
    stranger = Somebody(uid=ME.uid + 1)
    with small.index.transaction():
        small.index.inodes.change(small.index.inodes.get(ino), mode=0o100640)
    assert xattrs.get(ino, b"tierfs.fact.image.width", OWNER) == b"7"
    with fails(errno.EACCES):
        xattrs.get(ino, b"tierfs.fact.image.width", stranger)
    with small.index.transaction():
        small.index.inodes.change(small.index.inodes.get(ino), mode=0o100644)
    assert xattrs.get(ino, b"tierfs.fact.image.width", stranger) == b"7"
