"""The rules themselves: what a filesystem may do passes, and every kind of loss is seen."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.powercut.journal import Cut, Entry, Journal, entries
from tests.powercut.model import Failure, Model, look_at_all
from tests.powercut.operations import Operation, perform, unsupported
from tests.powercut.trial import Tally
from tests.powercut.writer import PROFILES, Chooser
from tests.support.proc import run

SIZE = 70_000
WRITE = Operation("write", "file", offset=60_000, length=20_000, seed=2)
APPEND = Operation("append", "file", length=5000, seed=3)
SYNC = Operation("fsync", "file")
NAMES = Operation("fsyncdir", ".")


class Tree:
    """A native directory and the model of it."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.model = Model()

    def do(self, *operations: Operation) -> None:
        """Do and follow them."""
        for operation in operations:
            result = perform(self.root, operation)
            self.model.take(Entry(operation, done=True, result=result))

    def failures(self) -> list[str]:
        """The kinds of what is wrong."""
        return [failure.kind for _, failure in self.model.judge(look_at_all(self.root))]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A file that is synced, with everything that it has, and one name more."""
    made = Tree(tmp_path / "tree")
    made.do(
        Operation("create", "file", length=SIZE, seed=1),
        Operation("setxattr", "file", length=50, seed=7),
        Operation("utime", "file", offset=10**18),
        SYNC,
        Operation("link", "file", "other name"),
        Operation("mkdir", "folder"),
        NAMES,
    )
    return made


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
    os.utime(path, ns=(10**18, 10**18))


def cut_to(path: Path, size: int) -> None:
    os.truncate(path, size)
    os.utime(path, ns=(10**18, 10**18))


def replace_by_its_like(path: Path) -> None:
    run(["cp", "-a", path, f"{path}-like"])
    os.rename(f"{path}-like", path)


LOSSES: dict[str, Callable[[Path], object]] = {
    "wrong bytes": lambda root: flip(root / "file", 5000),
    "bytes lost": lambda root: cut_to(root / "file", SIZE - 1),
    "too long": lambda root: cut_to(root / "file", SIZE + 1),
    "name lost": lambda root: (root / "other name").unlink(),
    "name back": lambda root: (root / "never made").mkdir(),
    "another file": lambda root: replace_by_its_like(root / "file"),
    "mode": lambda root: (root / "file").chmod(0o600),
    "xattr": lambda root: os.setxattr(root / "file", "user.label", b"another"),
    "mtime": lambda root: os.utime(root / "file"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_of_what_was_synced_is_seen(tree: Tree, loss: str) -> None:
    LOSSES[loss](tree.root)
    assert loss in tree.failures()


def test_what_is_as_it_was_passes(tree: Tree) -> None:
    assert tree.failures() == []
    tree.do(WRITE, APPEND)
    assert tree.failures() == []


@pytest.mark.parametrize("size", [SIZE, 75_000, 80_000, 85_000])
def test_an_end_that_was_not_synced_may_be_anywhere(tree: Tree, size: int) -> None:
    tree.do(WRITE, APPEND)
    os.truncate(tree.root / "file", size)
    assert tree.failures() == []


@pytest.mark.parametrize("size", [SIZE - 1, 85_001])
def test_but_not_before_what_was_synced_nor_behind_what_was_written(tree: Tree, size: int) -> None:
    tree.do(WRITE, APPEND)
    os.truncate(tree.root / "file", size)
    assert tree.failures()


def test_a_write_that_was_not_synced_may_have_happened_in_part(tree: Tree) -> None:
    old = (tree.root / "file").read_bytes()
    tree.do(WRITE)
    with (tree.root / "file").open("r+b") as file:
        file.seek(62_000)
        file.write(old[62_000:66_000])  # old bytes
        file.seek(SIZE + 1000)
        file.write(bytes(3000))  # beyond the synced end: not yet written
    assert tree.failures() == []


def test_zeros_in_what_was_synced_are_a_loss(tree: Tree) -> None:
    tree.do(WRITE)
    with (tree.root / "file").open("r+b") as file:
        file.seek(62_000)
        file.write(bytes(3000))
    assert set(tree.failures()) == {"zeros"}


def test_a_synchronous_write_makes_its_own_bytes_safe_and_no_others(tree: Tree) -> None:
    old = (tree.root / "file").read_bytes()
    tree.do(WRITE, Operation("synchronous", "file", offset=61_000, length=100, seed=4))
    with (tree.root / "file").open("r+b") as file:
        file.write(old[:61_000])  # of WRITE nothing came, and no end that it made
        file.seek(61_100)
        file.write(old[61_100:])
        file.truncate(SIZE)
    assert tree.failures() == []
    with (tree.root / "file").open("r+b") as file:
        file.seek(61_000)
        file.write(old[61_000:61_050])
    assert set(tree.failures()) == {"wrong bytes"}


def test_appends_in_between_are_not_kept_and_judged_all_the_same(tree: Tree) -> None:
    appends = [Operation("append", "file", length=100, seed=seed) for seed in range(20)]
    tree.do(*appends)
    assert len(tree.model.file("file").contents) == 2
    cut_to(tree.root / "file", SIZE + 1050)
    assert tree.failures() == []
    cut_to(tree.root / "file", SIZE - 1)
    assert set(tree.failures()) == {"bytes lost"}


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        (Operation("punch", "small", offset=2, length=3), b"AB\0\0\0F"),
        (Operation("punch", "small", offset=4, length=30), b"ABCD\0\0"),
        (Operation("zero", "small", offset=5, length=3), b"ABCDE\0\0\0"),
        (Operation("allocate", "small", offset=7, length=2), b"ABCDEF\0\0\0"),
        (Operation("copy", "small", "from", offset=7, length=2, seed=1), b"ABCDEF\0xy"),
    ],
    ids=lambda value: value.kind if isinstance(value, Operation) else "",
)
def test_the_model_follows_what_ranges_become(
    tree: Tree, operation: Operation, content: bytes
) -> None:
    small, source = tree.root / "small", tree.root / "from"
    small.write_bytes(b"ABCDEF")
    source.write_bytes(b"wxyz")
    if operation.kind not in unsupported(tree.root):
        perform(tree.root, operation)
        assert small.read_bytes() == content
    assert operation.changed(b"ABCDEF", b"wxyz") == content


def test_what_a_filesystem_cannot_do_is_left_out(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir(tree.root)
    missing = unsupported(tree.root)

    def refuse(*_arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr("tests.powercut.operations.fallocate", refuse)
    assert unsupported(tree.root) == missing | {"punch", "zero", "allocate"}
    assert os.listdir(tree.root) == before
    chooser = Chooser(tree.model, 7, "mixed", ("punch", "zero", "allocate"))
    kinds = {operation.kind for _ in range(300) for operation in chooser.choose()}
    assert not {"punch", "zero", "allocate"} & kinds


def test_bytes_that_were_cut_and_come_back_are_seen(tree: Tree) -> None:
    old = (tree.root / "file").read_bytes()
    tree.do(Operation("truncate", "file", length=10), SYNC, APPEND)
    (tree.root / "file").write_bytes(old[:5010])
    assert set(tree.failures()) == {"bytes that were cut came back"}


def test_a_file_that_is_replaced_is_the_old_or_the_new_one(tree: Tree) -> None:
    new = Operation("create", "new", length=500, seed=9)
    old = (tree.root / "file").read_bytes()
    tree.do(new, Operation("fsync", "new"), Operation("rename", "new", "file"))
    (tree.root / "file").write_bytes(new.data()[:-1])
    assert tree.failures()[:1] == ["bytes lost"]
    (tree.root / "file").write_bytes(old)


def test_files_that_hold_the_same_are_told_apart(tree: Tree) -> None:
    """A cut may take back a rename, and the bytes of a file that was not synced."""
    sync = Operation("fsync", "empty")
    tree.do(Operation("create", "empty"), sync, Operation("create", "new", length=500, seed=9))
    tree.model.take(Entry(Operation("rename", "new", "empty"), done=True))
    os.truncate(tree.root / "new", 0)
    assert tree.failures() == []
    tree.do(Operation("append", "empty", length=100, seed=4), sync, Operation("fsync", "new"))
    assert tree.failures() == []


def test_so_are_they_when_a_cut_came_before_the_number_was_told(tree: Tree) -> None:
    new = Operation("create", "new", length=500, seed=9)
    perform(tree.root, new)
    tree.model.take(Entry(new, done=False))
    os.link(tree.root / "file", tree.root / "third")
    assert tree.failures() == ["name back"]
    assert tree.model.file("new").inode == (tree.root / "new").stat().st_ino


def test_what_a_failure_tells_is_of_all_names_of_the_file(tree: Tree) -> None:
    tree.do(
        Operation("create", "source", length=300, seed=5),
        Operation("link", "file", "third"),
        Operation("copy", "third", "source", length=200),
        Operation("append", "source", length=9, seed=6),
    )
    assert tree.model.past("file") == (
        "copy third from source 0+200 < link file to third"
        " < link file to other name < fsync file < utime file < setxattr file 0+50"
        " < create file 0+70000"
    )


def test_the_first_failure_keeps_what_it_was_found_in(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "kept")
    tally.home = tmp_path / "home"
    tally.home.mkdir()
    for name in ("journal", "flash.img"):
        (tally.home / name).touch()
    for number in range(2):
        tally.fail(Failure("mode", "file", f"{number}"), "a round")
        (tally.home / "journal").unlink(missing_ok=True)
    assert os.listdir(tmp_path / "kept") == ["journal"]
    assert tally == {"mode": 2}


def test_an_operation_in_flight_may_have_happened(tree: Tree) -> None:
    operation = Operation("rename", "file", "moved")
    tree.model.take(Entry(operation, done=False))
    assert tree.failures() == []
    tree.model.take(Entry(Operation("rename", "other name", "again"), done=False))
    (tree.root / "other name").rename(tree.root / "again")
    assert tree.failures() == []


def test_a_writer_does_every_kind_and_its_model_follows(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    for folder in ("a", "b"):
        tree.do(Operation("mkdir", folder))
    tree.do(NAMES)
    without = unsupported(tree.root)
    chooser = Chooser(tree.model, 5, "mixed", without)
    kinds = set()
    for _ in range(600):
        for operation in chooser.choose():
            tree.do(operation)
            kinds.add(operation.kind)
    assert tree.failures() == []
    assert kinds == {*PROFILES["mixed"], "create"} - {"empty", "replace", "again"} - without


def test_a_sync_that_the_cut_met_means_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(SYNC)
    journal.end(done=True, result=5)
    journal.begin(NAMES)
    journal.close()
    first, last = entries(tmp_path / "journal", Cut(0, 0))
    assert (first.operation, first.done, first.result) == (SYNC, True, 5)
    assert (last.operation, last.done) == (NAMES, False)
    first, _ = entries(tmp_path / "journal", Cut(first.began - 1, first.began + 1))
    assert not first.done
