"""One test for each case: the mount must do what the native filesystem does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import pytest

from tests.parity.exceptions import EXCEPTIONS, VARIATIONS, WITHOUT_FAST_PATH
from tests.parity.harness import Case, Place, errno_name
from tests.parity.places import Native, Pair
from tests.parity.registry import load
from tests.support.fixtures import watchdog
from tests.support.mounting import FAST_PATH

ALL = load()
SECONDS = 60
"""That a case may take; ten fewer, and its mount is taken away, so that it can still fail."""


DIRECTORY_FORMATS = ("ext4", "xfs", "tmpfs")
WRITABLE = [each for each in ALL if not each.read_only]
SHOWN = 400
"""Characters of a value in a failure's message."""


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    "case", [each for each in WRITABLE if each.base not in VARIATIONS], ids=lambda c: c.name
)
def test_parity(case: Case, shared_mount: Pair) -> None:
    with watchdog(shared_mount.mount, SECONDS - 10), shared_mount.fresh() as (native, mount):
        compare(case, native, mount)
    shared_mount.mount.log.check()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("case", [each for each in ALL if each.read_only], ids=lambda c: c.name)
def test_read_only(case: Case, read_only_mount: Pair) -> None:
    with watchdog(read_only_mount.mount, SECONDS - 10):
        compare(case, *read_only_mount.prepared())
    read_only_mount.mount.log.check()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(
    "case", [each for each in WRITABLE if each.base in VARIATIONS], ids=lambda c: c.name
)
def test_variation(case: Case, shared_mount: Pair, natives: list[Native]) -> None:
    """Where the native filesystems differ among themselves, the mount does as one of them does."""
    with watchdog(shared_mount.mount, SECONDS - 10), shared_mount.fresh() as (_, mount):
        found = observe(case, mount)
    allowed = {native.name: observe(case, native.fresh()) for native in natives}
    assert found in allowed.values(), f"{case.name}: the mount {found!r}, {allowed}"
    assert len(set(map(repr, allowed.values()))) > 1, f"{case.name}: all agree: {allowed}"


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


def compare(case: Case, native: Place, mount: Place) -> None:
    """Fail when the observations differ, or when they agree although the case is listed."""
    expected = observe(case, native)
    assert not isinstance(expected, Raised), f"the case fails natively: {expected}"
    found = observe(case, mount)
    if not FAST_PATH and case.base in WITHOUT_FAST_PATH:
        return
    exception = EXCEPTIONS.get(case.name) or EXCEPTIONS.get(case.base)
    if exception is None:
        if found != expected:
            pytest.fail(f"{case.name}\n{difference(expected, found)}", pytrace=False)
    else:
        assert found != expected, (
            f"{case.name} is listed as an exception and agrees: {shown(found)}"
        )


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
