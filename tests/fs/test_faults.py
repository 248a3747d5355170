"""Every call on a backing directory fails once: the file is old or new, the others untouched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fs import scenarios
from tests.fs.consistency import check
from tests.fs.scenarios import OPERATIONS, Operation, before, contents, points, prepared
from tests.guards.logs import ExpectLog
from tests.support.faulty_os import Point
from tests.support.volumes import LooseVolume
from tierfs.common.errors import FsError, errno_of

CODES = (errno.EIO, errno.ENOSPC)


@pytest.fixture(scope="module")
def template() -> Iterator[LooseVolume]:
    with scenarios.template() as made:
        yield made


@pytest.fixture(params=list(OPERATIONS))
def operation(request: pytest.FixtureRequest) -> Operation:
    return OPERATIONS[request.param]


def test_a_call_that_fails_spoils_nothing(
    template: LooseVolume, home: Path, operation: Operation, expect_log: ExpectLog
) -> None:
    expect_log("its objects could not be freed", required=False)
    expect_log("closing left work", required=False)
    expect_log("could not be written to the device", required=False)
    for point in points(template, home, operation):
        for code in CODES:
            with prepared(template, home / "faulty") as volume:
                volume.os.fail(point, code)
                where = f"{errno.errorcode[code]} at {point}"
                attempt(volume, operation, code, where)
                if point.label == "index.sync" or volume.fs.dirty.errors:
                    # no later sync is believed until then
                    volume.reopen()
                again(volume, operation, where)


def attempt(volume: LooseVolume, operation: Operation, code: int, where: str) -> None:
    """Do the operation while one call fails; it succeeds wholly, or fails with the errno."""
    volume.os.full = operation.full
    try:
        operation.do(volume)
    except (OSError, FsError) as exc:
        failed = errno_of(exc)
    else:
        failed = 0
    volume.os.clear()
    found = contents(volume)
    assert failed in {0, code}, where
    assert found == operation.after(before()) or (failed and operation.allows(before(), found)), (
        where
    )
    check(volume)


def again(volume: LooseVolume, operation: Operation, where: str) -> None:
    """The same operation works once nothing fails, and the volume opens with nothing left over."""
    operation.do(volume)
    assert contents(volume) == operation.after(before()), where
    volume.reopen()
    assert contents(volume) == operation.after(before()), where
    check(volume, trimmed=True)


def test_a_short_write_is_no_failure(
    template: LooseVolume, home: Path, operation: Operation
) -> None:
    for point in points(template, home, operation):
        if point.label in {"flash.pwrite", "disk.pwrite"} and point.label not in operation.full:
            with prepared(template, home / "short") as volume:
                volume.os.full = operation.full
                volume.os.write_short(point, 1)
                operation.do(volume)
                assert contents(volume) == operation.after(before()), point


@pytest.mark.parametrize("tier", ["flash", "disk"])
def test_the_calls_that_fail_are_those_that_matter(
    template: LooseVolume, home: Path, tier: str
) -> None:
    labels = {
        point.label
        for operation in OPERATIONS.values()
        for point in points(template, home, operation)
    }
    calls = {"open", "pwrite", "ftruncate", "fdatasync", "fsync_directory", "unlink", "stat"}
    assert {f"{tier}.{call}" for call in calls} <= labels
    assert {"index.commit", "index.sync", "flash.pread"} <= labels


@pytest.mark.parametrize("code", CODES)
def test_the_first_file_of_a_volume_needs_directories(small: LooseVolume, code: int) -> None:
    data = scenarios.pattern(6000)
    ino = scenarios.make(small, b"new").ino
    for point in (Point("flash.mkdir"), Point("flash.mkdir", 1), Point("disk.mkdir")):
        small.os.clear()
        small.os.fail(point, code)
        if code == errno.ENOSPC and point.label == "flash.mkdir":
            break
        with pytest.raises(OSError, match=os.strerror(code)):
            small.fs.data.write(ino, 0, data)
        assert contents(small) == {b"new": b""}
    small.fs.data.write(ino, 0, data)
    assert contents(small) == {b"new": data}
    check(small)


def test_the_first_write_that_fails_leaves_no_byte_behind(small: LooseVolume) -> None:
    ino = scenarios.make(small, b"new").ino
    small.os.fail(Point("disk.pwrite"), errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        small.fs.data.write(ino, 0, scenarios.pattern(6000))
    small.fs.data.truncate(ino, 6000)
    assert contents(small) == {b"new": bytes(6000)}
