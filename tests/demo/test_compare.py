"""Every way in which a copy can differ is found, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import xattr

from tests.demo.conftest import Copied
from tierfs.demo import compare
from tierfs.demo.compare import Names, Pair, compare_batch
from tierfs.demo.findings import Difference, Findings, Kind
from tierfs.demo.trees import count
from tierfs.demo.verify import compare_hard_links, top_differences


def findings_of(copied: Copied) -> Findings:
    """What one reader and the final checks find, in this process."""
    pair = Pair(copied.tree.root, copied.target, copied.since_ns)
    findings, names = compare_batch(pair, [path for path, _ in copied.tree.walk()])
    findings.differences += top_differences(copied.tree, copied.target)
    findings.differences += compare_hard_links(names)
    return findings


def kinds(copied: Copied) -> dict[str, set[Kind]]:
    found: dict[str, set[Kind]] = {}
    for difference in findings_of(copied).differences:
        found.setdefault(str(difference.path), set()).add(difference.kind)
    return found


def keep_times(path: Path, change: Callable[[Path], object]) -> None:
    """Change a file as damage would, without a trace in its times and its directory's."""
    before, parent = path.lstat(), path.parent.lstat()
    change(path)
    if os.path.lexists(path):
        ns = (before.st_atime_ns, before.st_mtime_ns)
        os.utime(path, ns=ns, follow_symlinks=False)
    os.utime(path.parent, ns=(parent.st_atime_ns, parent.st_mtime_ns))


def flip(offset: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    return change


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def test_a_true_copy_has_no_difference(copied: Copied) -> None:
    findings = findings_of(copied)
    assert findings.differences == []
    assert findings.set_aside == []
    assert findings.compared_names == count(copied.tree, 1).names == 10
    assert findings.compared_bytes == 256 * 8192 + 4 + 3 * 5
    assert findings.compared_xattrs == 3  # both names of the twins have the one attribute


@pytest.mark.parametrize("offset", [0, 65_535, 65_536, compare.CHUNK, 256 * 8192 - 1])
def test_one_flipped_bit_is_found_where_it_is(copied: Copied, offset: int) -> None:
    keep_times(copied.target / "folder" / "large", flip(offset))
    (difference,) = findings_of(copied).differences
    assert difference.kind is Kind.BYTES
    assert f"offset {offset} of" in difference.detail


DAMAGE: dict[str, tuple[str, Callable[[Path], object], Kind]] = {
    "shorter": ("folder/large", lambda path: os.truncate(path, 70_000), Kind.SIZE),
    "longer": ("folder/empty", lambda path: path.write_bytes(b"x"), Kind.SIZE),
    "mode": ("folder/large", lambda path: path.chmod(0o4711), Kind.MODE),
    "mode of directory": ("folder/sub", lambda path: path.chmod(0o700), Kind.MODE),
    "missing": ("folder/large", Path.unlink, Kind.MISSING),
    "type": ("folder/large", replace_by(Path.mkdir), Kind.TYPE),
    "link target": ("folder/link", replace_by(lambda p: p.symlink_to("large/x")), Kind.LINK_TARGET),
    "extra": ("folder/new", Path.touch, Kind.EXTRA),
    "extra at the top": ("new", Path.touch, Kind.EXTRA),
    "xattr missing": (
        "folder",
        lambda path: xattr.removexattr(str(path), "user.plate"),
        Kind.XATTR_MISSING,
    ),
    "xattr different": (
        "folder",
        lambda path: xattr.setxattr(str(path), "user.plate", b"8"),
        Kind.XATTR_DIFFERENT,
    ),
    "xattr empty": (
        "folder",
        lambda path: xattr.setxattr(str(path), "user.plate", b""),
        Kind.XATTR_DIFFERENT,
    ),
    "xattr extra": (
        "folder/large",
        lambda path: xattr.setxattr(str(path), "user.more", b""),
        Kind.XATTR_EXTRA,
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_each_kind_of_difference_is_found_alone(copied: Copied, case: str) -> None:
    name, change, kind = DAMAGE[case]
    path = copied.target / name
    if kind is Kind.EXTRA:
        parent = path.parent.stat()
        change(path)
        os.utime(path.parent, ns=(parent.st_atime_ns, parent.st_mtime_ns))
    else:
        keep_times(path, change)
    assert kinds(copied) == {name: {kind}}


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_another_owner_or_group_is_found(copied: Copied, field: str) -> None:
    """Compared as values, because only root could give a file away."""
    ours = (copied.target / "one").lstat()
    owner = {"uid": ours.st_uid, "gid": ours.st_gid}
    owner[field] += 1
    theirs = os.stat_result((*ours[:4], owner["uid"], owner["gid"], *ours[6:10]))
    same = os.stat_result(ours[:10])
    found = list(compare.compare_facts(Path("one"), same, theirs))
    assert [one.kind for one in found] == [Kind.OWNER]


@pytest.mark.parametrize("name", ["folder/large", "folder/sub", "folder/link", "fifo"])
def test_a_nanosecond_is_found(copied: Copied, name: str) -> None:
    path = copied.target / name
    when = path.lstat().st_mtime_ns + 1
    os.utime(path, ns=(when, when), follow_symlinks=False)
    assert kinds(copied) == {name: {Kind.MTIME}}


def test_a_parted_hard_link_is_found_in_all_its_names(copied: Copied) -> None:
    twin = copied.target / "two"
    keep_times(twin, replace_by(lambda path: path.write_bytes(b"twins")))
    xattr.setxattr(str(twin), "user.tag", b"cell")
    assert kinds(copied) == {"one": {Kind.LINK_GROUP}, "two": {Kind.LINK_GROUP}}


def test_files_that_became_one_are_found(copied: Copied) -> None:
    other = copied.target / "like one"
    keep_times(other, replace_by(lambda path: path.hardlink_to(copied.target / "one")))
    found = kinds(copied)
    assert all(Kind.LINK_GROUP in found[name] for name in ("one", "two", "like one"))


def test_a_wrong_link_count_is_found() -> None:
    names = [Names(Path(name), (1, 1), (2, 2), 3) for name in ("a", "b")]
    assert [one.kind for one in compare_hard_links(names)] == [Kind.LINK_GROUP] * 2


def test_a_listing_that_omits_or_repeats_a_name_is_found(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "names_in", lambda _: ["large", "large"])
    found = list(
        compare.compare_listings(Path("folder"), ["large", "empty"], copied.target / "folder")
    )
    assert [(str(one.path), one.kind) for one in found] == [
        ("folder/empty", Kind.UNLISTED),
        ("folder", Kind.EXTRA),
    ]


def test_a_file_that_cannot_be_read_is_a_difference(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> dict[str, bytes]:
        if path == copied.target / "like one":
            raise OSError(5, "Input/output error", str(path))
        return {}

    monkeypatch.setattr(compare, "get_xattrs", fail)
    assert findings_of(copied).differences == [
        Difference(Path("like one"), Kind.UNREADABLE, "Input/output error")
    ]


def test_what_changed_in_the_source_meanwhile_is_set_aside(copied: Copied) -> None:
    (copied.tree.root / "like one").write_bytes(b"later")
    findings = findings_of(copied)
    assert findings.differences == []
    assert findings.set_aside == [Path("like one")]


def test_what_vanished_from_the_source_meanwhile_is_set_aside(copied: Copied) -> None:
    pair = Pair(copied.tree.root, copied.target, copied.since_ns)
    (copied.tree.root / "like one").unlink()
    findings, _ = compare_batch(pair, [Path("like one")])
    assert findings.differences == []
    assert findings.set_aside == [Path("like one")]


def test_two_read_lengths_make_no_difference(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount may return fewer bytes than asked for, which is no end of the file."""
    reads = iter(range(1, 1_000_000))
    real = os.pread
    monkeypatch.setattr(
        os, "pread", lambda fd, n, at: real(fd, max(1, n // (next(reads) % 5 + 1)), at)
    )
    assert findings_of(copied).differences == []
