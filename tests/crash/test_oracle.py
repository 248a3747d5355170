"""The crash test itself: a native tree passes, and every kind of loss is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.journal import DONE, read_journal
from tests.crash.operations import KINDS, Operation
from tests.crash.oracle import Oracle, is_mixture
from tests.crash.writer import gone, write

pytestmark = pytest.mark.once

OPERATIONS = 600


@pytest.fixture
def written(scratch: Path) -> tuple[Path, Path]:
    """A tree and its journal."""
    root, journal = scratch / "written", scratch / "journal"
    root.mkdir()
    write(root, journal, seed=4, limit=OPERATIONS)
    return root, journal


def files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


LOSSES: dict[str, Callable[[Path], object]] = {
    "file": lambda root: files(root)[0].unlink(),
    "byte": lambda root: flip(max(files(root), key=lambda path: path.stat().st_size)),
    "length": lambda root: os.truncate(files(root)[0], 7_000_000),
    "mode": lambda root: files(root)[0].chmod(0o777),
    "xattr": lambda root: os.setxattr(files(root)[0], "user.label", b"\0"),
    "name": lambda root: files(root)[0].rename(root / "another"),
    "extra": lambda root: (root / "extra").mkdir(),
}


def test_native_tree_passes(written: tuple[Path, Path], scratch: Path) -> None:
    assert Oracle(scratch / "oracle").check(*written) == []


def test_every_kind_of_operation_happens(written: tuple[Path, Path]) -> None:
    finished, pending = read_journal(written[1])
    assert len(finished) == OPERATIONS
    assert pending is None
    assert {operation.kind for operation in finished} == set(KINDS)


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_is_seen(written: tuple[Path, Path], scratch: Path, loss: str) -> None:
    LOSSES[loss](written[0])
    assert Oracle(scratch / "oracle").check(*written)


@pytest.mark.parametrize("happened", [True, False])
def test_operation_in_flight_may_have_happened(scratch: Path, *, happened: bool) -> None:
    root, journal = scratch / "written", scratch / "journal"
    root.mkdir()
    write(root, journal, seed=4, limit=5)
    with journal.open("ab") as file:
        file.write(b'{"kind": "mkdir", "path": "late"}\n')
    if happened:
        (root / "late").mkdir()
    assert Oracle(scratch / "oracle").check(root, journal) == []


def test_torn_last_line_is_nothing(scratch: Path) -> None:
    journal = scratch / "journal"
    journal.write_bytes(b'{"kind": "mkdir", "path": "a"}\n' + DONE + b'{"kind": "mkd')
    assert read_journal(journal) == ([Operation("mkdir", "a")], None)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (b"old", True),
        (b"NEWER", True),
        (b"NEd", True),
        (b"old\0R", True),
        (b"NEW", True),
        (b"ol", False),
        (b"NEWER!", False),
        (b"xld", False),
    ],
)
def test_interrupted_write(there: bytes, *, expected: bool) -> None:
    assert is_mixture(there, b"old", b"NEWER") is expected


def test_native_directory_is_not_gone(scratch: Path) -> None:
    assert not gone(scratch)
    assert gone(scratch / "nothing")
