"""What the state machine draws: paths that mostly exist, and places around the boundary."""

import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.model.driver import FallocateMode, Path, RenameFlags, XattrFlags
from tests.model.nodes import Directory, Node, Regular, Special

if TYPE_CHECKING:
    from tests.model.machine import FilesystemMachine

_LONGEST, _TOO_LONG = b"n" * 255, b"n" * 256
_SHORT = [b"a", b"b", b"c"]

names = st.sampled_from([*_SHORT, *_SHORT, b"\xff\xfe", b"new\nline ", _LONGEST, _TOO_LONG])

permissions = st.sampled_from([0o644, 0o600, 0o000, 0o777, 0o4755, 0o2750, 0o2644, 0o1777])
"""Modes with and without the bits that chown and a directory's group change."""

directory_modes = st.sampled_from([0o755, 0o700, 0o1777, 0o000])

special_modes = st.sampled_from([stat.S_IFIFO | 0o644, stat.S_IFSOCK | 0o600])

owners = st.sampled_from([(0, 0), (1000, -1), (-1, 1000), (65534, 2**31), (0, 100)])
"""Pairs of uid and gid, -1 for unchanged."""

times = st.sampled_from([0, 1, 999_999_999, 1_234_567_890_123_456_789, -1, 2**33 * 10**9 + 7])
"""None of them is now, nanoseconds since 1970: from the instant before it to the year 2242."""

target_lengths = st.sampled_from([7, 8, 60, 4095])

xattr_names = st.sampled_from(
    [b"user.a", b"user.a", b"trusted.t", b"security.s", b"user." + b"x" * 250]
)

xattr_flags = st.sampled_from([*XattrFlags, XattrFlags.ANY])

fallocate_modes = st.sampled_from(list(FallocateMode))

rename_flags = st.sampled_from(
    [
        RenameFlags.PLAIN,
        RenameFlags.PLAIN,
        RenameFlags.NOREPLACE,
        RenameFlags.EXCHANGE,
        RenameFlags.NOREPLACE | RenameFlags.EXCHANGE,
    ]
)

handles = st.integers(min_value=0, max_value=2)
"""What a file may be opened as: at most three are open at once."""


@dataclass(frozen=True)
class Pattern:
    """Bytes that a person can read in a report: `length` of them, which differ by `seed`."""

    seed: int
    length: int

    def bytes(self) -> bytes:
        """Bytes in which a shift shows: they repeat only after 251, a prime; none is zero."""
        period = bytes((self.seed + step) % 251 + 1 for step in range(251))
        return (period * (self.length // 251 + 1))[: self.length]


def dangling(length: int) -> bytes:
    """The target of a symlink that leads nowhere, since no name is "nowhere"."""
    return (b"nowhere/" + b"\xff\n" + b"/n" * 2048)[:length]


_seeds = st.integers(min_value=0, max_value=250)

xattr_values = st.builds(Pattern, _seeds, st.sampled_from([0, 1, 8, 4096, 65536, 65537]))


def _machine() -> "SearchStrategy[FilesystemMachine]":
    return cast("SearchStrategy[FilesystemMachine]", st.runner())


def _paths_of(*kinds: type[Node]) -> SearchStrategy[Path]:
    """A path in the tree to one of these kinds, or one that is missing if there is none."""

    def choose(machine: "FilesystemMachine") -> SearchStrategy[Path]:
        model = machine.model
        found = [path for path in model.paths() if isinstance(model.node(path), kinds)]
        return st.sampled_from(found or [(b"missing",)])

    return _machine().flatmap(choose)


def _children(parents: SearchStrategy[Path]) -> SearchStrategy[Path]:
    return st.builds(lambda parent, name: (*parent, name), parents, names)


def _mostly(common: SearchStrategy[Path], rare: SearchStrategy[Path]) -> SearchStrategy[Path]:
    """Seven times in eight the one, else the other (`one_of` knows no weights)."""
    return st.integers(min_value=0, max_value=7).flatmap(lambda dice: rare if dice == 7 else common)


directories = _mostly(_paths_of(Directory), st.just(()))
"""A directory, sometimes the root."""

existing = _paths_of(Node)

places = _mostly(_children(directories), _children(existing))
"""Where a name could be put: in a directory, seldom below a file."""

anything = _mostly(existing, places)
"""A path below the root, mostly one that exists."""

destinations = st.one_of(places, existing)
"""Where something could be moved to."""

with_root = _mostly(anything, st.just(()))


def _has_xattr(machine: "FilesystemMachine") -> SearchStrategy[tuple[Path, bytes]]:
    model = machine.model
    found = [(path, name) for path in model.paths() for name in sorted(model.node(path).xattrs)]
    return st.sampled_from(found or [((b"missing",), b"user.a")])


held_xattrs = _machine().flatmap(_has_xattr)
"""A path and the name of an extended attribute that is there."""


def _has_bytes(machine: "FilesystemMachine") -> SearchStrategy[Path]:
    paths = _mostly(_paths_of(Regular), anything)
    return paths.filter(lambda path: not machine.is_at(path, Special))


files = _machine().flatmap(_has_bytes)
"""Mostly a regular file, never a FIFO or socket: the bytes of one are not the filesystem's."""


seldom = st.integers(min_value=0, max_value=3)
"""0 one time in four: taking a mount down and up costs as much as a hundred operations."""

open_handles = _machine().flatmap(lambda machine: st.sampled_from(sorted(machine.model.handles)))


def _numbers(around: Callable[[int], list[int]]) -> SearchStrategy[int]:
    return _machine().flatmap(lambda machine: st.sampled_from(around(machine.boundary)))


offsets = _numbers(
    lambda head: [0, 1, head - 1, head, head + 1, head // 2, 2 * head - 1, 3 * head + 7, 2**32 + 5]
)

lengths = _numbers(lambda head: [0, 1, 2, head - 1, head, head + 1, 2 * head, 4097])

sizes = _numbers(
    lambda head: [0, 1, head - 1, head, head + 1, head // 2, 2 * head, 4 * head + 1, 2**32 + 5]
)

data = st.builds(Pattern, _seeds, lengths)
