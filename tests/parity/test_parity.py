"""One test for each case: a mount, with the fast path or without, does what ext4 does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import pytest

from tests.parity.exceptions import EXCEPTIONS, VARIATIONS, WITHOUT_FAST_PATH
from tests.parity.harness import Case, Place, errno_name
from tests.parity.places import Native, Trio
from tests.parity.registry import load
from tests.support.fixtures import watchdog

pytestmark = pytest.mark.long

ALL = load()
SECONDS = 60
"""That a case may take; ten fewer, and its mount is taken away, so that it can still fail."""


DIRECTORY_FORMATS = ("ext4", "xfs", "tmpfs")
WRITABLE = [each for each in ALL if not each.read_only]
MOUNTS = ("the mount with the fast path", "the mount without the fast path")
SHOWN = 400
"""Characters of a value in a failure's message."""


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    "case", [each for each in WRITABLE if each.base not in VARIATIONS], ids=lambda c: c.name
)
def test_a_mount_does_as_native_filesystems_do(case: Case, shared_trio: Trio) -> None:
    with watchdog(shared_trio, SECONDS - 10), shared_trio.fresh() as places:
        compare(case, *places)
    shared_trio.check_logs()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("case", [each for each in ALL if each.read_only], ids=lambda c: c.name)
def test_a_read_only_mount_does_as_native_ones_do(case: Case, shared_read_only_trio: Trio) -> None:
    with watchdog(shared_read_only_trio, SECONDS - 10):
        compare(case, *shared_read_only_trio.prepared())
    shared_read_only_trio.check_logs()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    "case", [each for each in WRITABLE if each.base in VARIATIONS], ids=lambda c: c.name
)
def test_a_mount_does_as_one_of_the_native_filesystems_does(
    case: Case, shared_trio: Trio, natives: list[Native]
) -> None:
    """Where the native filesystems differ among themselves, each mount does as one of them does."""
    allowed = {native.name: observe(case, native.fresh()) for native in natives}
    assert len(set(map(repr, allowed.values()))) > 1, f"{case.name}: all agree: {allowed}"
    with watchdog(shared_trio, SECONDS - 10), shared_trio.fresh() as (_, *mounts):
        for name, mount in zip(MOUNTS, mounts, strict=True):
            found = observe(case, mount)
            assert found in allowed.values(), f"{case.name}: {name} {found!r}, {allowed}"


def test_every_exception_is_of_a_case() -> None:
    known = {each.name for each in ALL} | {each.base for each in ALL}
    assert not EXCEPTIONS.keys() - known
    assert not VARIATIONS.keys() - {each.base for each in ALL}
    assert not WITHOUT_FAST_PATH.keys() - {each.base for each in ALL}


def test_no_exception_is_our_own_choice() -> None:
    """What tierfs could do as ext4 does, it does."""
    deciders = {exception.kind for exception in EXCEPTIONS.values()}
    assert deciders == {"binding", "kernel"}


def test_every_filesystem_has_its_own_size_of_a_directory(natives: list[Native]) -> None:
    """So that no case compares it (observations.py)."""
    sizes = {native.name: directory_size(native.fresh()) for native in natives}
    assert len(set(sizes.values())) >= len(DIRECTORY_FORMATS), sizes


def directory_size(place: Place) -> int:
    for number in range(40):
        place.file(f"{number}-{'x' * 240}")
    return place.path.stat().st_size


def compare(case: Case, native: Place, router: Place, python: Place) -> None:
    """Fail when an observation of a mount differs, or agrees although the case is listed."""
    expected = observe(case, native)
    assert not isinstance(expected, Raised), f"the case fails natively: {expected}"
    exception = EXCEPTIONS.get(case.name) or EXCEPTIONS.get(case.base)
    problems = []
    excused = (False, case.base in WITHOUT_FAST_PATH)
    for name, mount, may_differ in zip(MOUNTS, (router, python), excused, strict=True):
        found = observe(case, mount)
        if may_differ:
            continue
        if exception is None and found != expected:
            problems.append(f"{name}:\n{difference(expected, found)}")
        elif exception is not None and found == expected:
            problems.append(f"{name}: listed as an exception, and agrees: {shown(found)}")
    if problems:
        pytest.fail("\n".join([case.name, *problems]), pytrace=False)


def difference(expected: object, found: object, where: str = "") -> str:
    """The parts of two observations that differ, one a line, each with its place in them."""
    left, right = parts(expected), parts(found)
    if left is None or right is None or left.keys() != right.keys():
        return f"at {where or 'the top'}: ext4 {shown(expected)}, the mount {shown(found)}"
    differing = [key for key in left if left[key] != right[key]]
    return "\n".join(difference(left[key], right[key], f"{where}[{key!r}]") for key in differing)


def shown(observation: object) -> str:
    """The value, or as much of it as a person reads."""
    text = repr(observation)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def parts(observation: object) -> dict[object, object] | None:
    """What an observation consists of, by its keys; None for a single value."""
    if isinstance(observation, Mapping):
        return dict(observation)
    if isinstance(observation, list | tuple):
        return dict(enumerate(observation))
    return None


class Raised(str):
    """An observation that could not be made."""

    __slots__ = ()


def observe(case: Case, place: Place) -> object:
    """What the case sees; an OSError that it did not expect is an observation as well."""
    with kept_process_state():
        try:
            return case.function(place, **case.parameters)
        except OSError as exc:
            return Raised(f"raised {errno_name(exc.errno or 0)}: {exc}")


@contextlib.contextmanager
def kept_process_state() -> Iterator[None]:
    """Put the current directory and the umask back."""
    with contextlib.ExitStack() as stack:
        home = os.open(".", os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, home)
        stack.callback(os.fchdir, home)
        stack.callback(os.umask, os.umask(0o022))
        yield
