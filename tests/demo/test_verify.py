"""The comparison of whole trees by several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo.conftest import Copied, Recorder
from tierfs.demo import verify
from tierfs.demo.findings import SHOWN, Difference, Findings, Kind, list_differences
from tierfs.demo.report import show_findings
from tierfs.demo.trees import count
from tierfs.demo.verify import Readers, batches


@pytest.mark.usefixtures("process_tracker")
def test_several_readers_find_what_one_would(copied: Copied) -> None:
    """A difference inside a file, one between files and one at the top, in one run."""
    advanced: list[int] = []
    twin = copied.target / "two"
    twin.unlink()
    twin.write_bytes(b"other")
    (copied.target / "more").touch()
    with Readers(2) as readers:
        found = readers.verify(copied.tree, copied.target, copied.since_ns, advanced.append)
    seen = {(str(one.path), one.kind) for one in found.differences}
    assert {
        ("two", Kind.BYTES),
        ("two", Kind.MTIME),
        ("two", Kind.XATTR_MISSING),
        ("two", Kind.LINK_GROUP),
        ("one", Kind.LINK_GROUP),
        ("more", Kind.EXTRA),
    } == seen
    # The progress bar counts every name of a file, a hard link as well.
    assert sum(advanced) == count(copied.tree, 1).bytes + 5


@pytest.mark.usefixtures("process_tracker")
def test_a_missing_copy_is_found(copied: Copied, tmp_path: Path) -> None:
    with Readers(1) as readers:
        found = readers.verify(copied.tree, tmp_path / "nothing", copied.since_ns, lambda _: None)
    kinds = {one.kind for one in found.differences}
    assert kinds == {Kind.MISSING, Kind.UNREADABLE}
    assert len(found.differences) == count(copied.tree, 1).names + 1


def test_batches_hold_every_path_once_and_are_bounded(copied: Copied) -> None:
    paths = [path for path, _ in copied.tree.walk()]
    made = list(batches(copied.tree))
    assert [path for _, some in made for path in some] == paths
    assert all(len(some) <= verify.BATCH_NAMES for _, some in made)


def test_long_lists_are_cut() -> None:
    many = [Difference(Path(f"{number:03}"), Kind.MISSING) for number in range(SHOWN + 7)]
    lines = list_differences(many).splitlines()
    assert len(lines) == SHOWN + 1
    assert lines[0] == "  000 is missing"
    assert lines[-1] == "  ... and 7 more"


def test_what_was_not_judged_is_said(ui: Recorder) -> None:
    show_findings(ui, Findings(set_aside=[Path("a\nb")], compared_names=1234))
    assert "1,234 names" in ui.text
    assert "not judged" in ui.text.lower()
    assert r"a\nb" in ui.text
