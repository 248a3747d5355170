"""What is found is what a walk with stat(2) and getxattr(2) finds, for any expression."""

from __future__ import annotations

import fnmatch
import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.query.asking import ask
from tests.support.fixtures import directory
from tests.support.mounting import HEAD, Mount
from tests.support.proc import wait_until

pytestmark = pytest.mark.once

FILES = 300
LABELS = ("mitosis", "interphase", "42", "7.5", "two words", "")
SIZES = (0, 1, 100, 4096, HEAD - 1, HEAD, HEAD + 1, 3 * HEAD)
MODES = (0o600, 0o644, 0o755, 0o4755)
NOW = time.time_ns()


@dataclass
class Walked:
    """A file as a walk sees it."""

    path: str
    status: os.stat_result
    tags: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    pinned: bool = False


@dataclass
class Tree:
    """A tree that was walked, and the index that knows it."""

    index: Path
    files: list[Walked]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with ExitStack() as stack:
        home = stack.enter_context(directory(tmp_path_factory.mktemp("walk")))
        mount = Mount(home / "volume")
        stack.callback(mount.close)
        mount.configure("tags", "{index: [user.label]}")
        mount.mount()
        fill(mount.path, random.Random(18))
        wait_until(lambda: arrived(mount.path), what="what is pinned is on flash")
        walked = list(walk(mount.path))
        mount.unmount()
        yield Tree(mount.flash / "index.db", walked)


def fill(top: Path, rng: random.Random) -> None:
    directories = [top]
    for number in range(12):
        directories.append(rng.choice(directories) / f"d{number}")
        directories[-1].mkdir()
    for number in range(FILES):
        file = rng.choice(directories) / f"f{number}.{rng.choice(('tif', 'jpg', 'TIF', 'x y'))}"
        file.write_bytes(b"x" * rng.choice(SIZES))
        decorate(file, rng)
        if rng.random() < 0.1:
            # The file counts where it was linked last.
            others = [one for one in directories if one != file.parent]
            os.link(file, rng.choice(others) / f"again{number}")
        elif rng.random() < 0.1:
            file.rename(rng.choice(directories) / f"moved{number}.tif")
    os.symlink("target", directories[3] / "link")
    os.mkfifo(directories[4] / "fifo")
    os.setxattr(directories[5], "tierfs.pin", b"1")


def decorate(file: Path, rng: random.Random) -> None:
    file.chmod(rng.choice(MODES))
    os.chown(file, rng.choice((0, 54321)), rng.choice((0, 54322)))
    if rng.random() < 0.6:
        os.setxattr(file, "user.label", rng.choice(LABELS).encode())
    if rng.random() < 0.3:
        os.setxattr(file, "user.score", str(rng.randrange(100)).encode())
    if rng.random() < 0.1:
        os.setxattr(file, "trusted.label", b"mitosis")
    if rng.random() < 0.2:
        os.setxattr(file, "tierfs.pin", b"1")
    age = rng.randrange(100 * 86400)
    os.utime(file, ns=(NOW - age * 10**9, NOW - age * 10**9))


def arrived(top: Path) -> bool:
    """Whether pinned files are where they stay."""
    return all(
        one.location in {"flash", None} for one in walk(top) if one.pinned and one.status.st_size
    )


def walk(top: Path) -> Iterator[Walked]:
    """Each inode once, with the path that the index has for it."""
    found: dict[int, Walked] = {}
    for at, directories, files in os.walk(top):
        for name in ["", *files] if at == os.fspath(top) else files:
            see(Path(at) / name if name else top, top, found)
        for name in directories:
            see(Path(at) / name, top, found)
    yield from found.values()


def see(file: Path, top: Path, found: dict[int, Walked]) -> None:
    status = file.lstat()
    path = "/" + os.fspath(file.relative_to(top)).removeprefix(".")
    # Names that were made last are called "again".
    if status.st_ino in found and not file.name.startswith("again"):
        return
    walked = found[status.st_ino] = Walked(path, status)
    for name in os.listxattr(file, follow_symlinks=False):
        if name.startswith("user."):
            walked.tags[name] = os.getxattr(file, name, follow_symlinks=False).decode()
    if stat.S_ISREG(status.st_mode):
        walked.location = os.getxattr(file, "tierfs.location").decode()
    walked.pinned = any(
        has(file, name) for name in ("tierfs.pin", "tierfs.pinned-by") if not file.is_symlink()
    )


def has(file: Path, name: str) -> bool:
    try:
        os.getxattr(file, name, follow_symlinks=False)
    except OSError:
        return False
    return True


# ------------------------------------------------------------------ expressions

Holds = Callable[[Walked], bool | None]
Expression = tuple[str, Holds]

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}
SIGNS = st.sampled_from(sorted(COMPARE))


def number(
    name: str, values: st.SearchStrategy[int], of: Callable[[Walked], int]
) -> st.SearchStrategy[Expression]:
    return st.tuples(SIGNS, values).map(
        lambda drawn: (
            f"{name} {drawn[0]} {drawn[1]}",
            lambda one: COMPARE[drawn[0]](of(one), drawn[1]),
        )
    )


def text(
    name: str, patterns: list[str], of: Callable[[Walked], str | None]
) -> st.SearchStrategy[Expression]:
    def made(drawn: tuple[str, str]) -> Expression:
        sign, pattern = drawn

        def holds(one: Walked) -> bool:
            value = of(one)
            fits = value is not None and fnmatch.fnmatchcase(value, pattern)
            return fits == (sign == "=")

        return f'{name} {sign} "{pattern}"', holds

    return st.tuples(st.sampled_from(["=", "!="]), st.sampled_from(patterns)).map(made)


def below(drawn: str) -> Expression:
    return f"path = {drawn}/**", lambda one: one.path.startswith(f"{drawn}/")


def named(drawn: str) -> Expression:
    return (
        f"path = **/{drawn}",
        lambda one: fnmatch.fnmatchcase(os.path.basename(one.path), drawn) and one.path != "/",
    )


def aged(drawn: tuple[str, int]) -> Expression:
    sign, days = drawn
    return (
        f"age {sign} {days}d",
        lambda one: COMPARE[sign](max(0, NOW - one.status.st_mtime_ns), days * 86400 * 10**9),
    )


def scored(drawn: tuple[str, int]) -> Expression:
    sign, limit = drawn

    def holds(one: Walked) -> bool:
        value = one.tags.get("user.score")
        return value is not None and COMPARE[sign](float(value), limit)

    return f"user.score {sign} {limit}", holds


KINDS = {
    "file": stat.S_ISREG,
    "directory": stat.S_ISDIR,
    "link": stat.S_ISLNK,
    "fifo": stat.S_ISFIFO,
}


def located(drawn: str) -> Expression:
    # Of what is no file it is not known where its bytes are.
    return f"tier = {drawn}", lambda one: None if one.location is None else one.location == drawn


LEAVES = st.one_of(
    number("size", st.sampled_from(SIZES), lambda one: one.status.st_size),
    number("links", st.integers(1, 3), lambda one: one.status.st_nlink),
    number("inode", st.integers(1, 400), lambda one: one.status.st_ino),
    text(
        "name",
        ["*.tif", "f1*", "again*", "[a-f]*", "f7.tif", "*"],
        lambda one: os.path.basename(one.path) or "",
    ),
    text("user.label", [*LABELS, "m*", "*"], lambda one: one.tags.get("user.label")),
    st.sampled_from(["/d0", "/d1", "/d0/d1", "/d2"]).map(below),
    st.sampled_from(["*.tif", "f1*", "again*", "[a-f]*"]).map(named),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 100)).map(aged),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 100)).map(scored),
    st.sampled_from(sorted(KINDS)).map(
        lambda kind: (f"type = {kind}", lambda one: bool(KINDS[kind](one.status.st_mode)))
    ),
    st.sampled_from(MODES).map(
        lambda mode: (f"mode = {mode:04o}", lambda one: stat.S_IMODE(one.status.st_mode) == mode)
    ),
    st.sampled_from([0, 54321]).map(
        lambda uid: (f"owner = {uid}", lambda one: one.status.st_uid == uid)
    ),
    st.sampled_from([0, 54322]).map(
        lambda gid: (f"group in (7, {gid})", lambda one: one.status.st_gid in {7, gid})
    ),
    st.sampled_from(["flash", "disk", "split"]).map(located),
    st.just(("pinned", lambda one: one.pinned)),
    st.just(("user.label is set", lambda one: "user.label" in one.tags)),
    st.just(("user.score is not set", lambda one: "user.score" not in one.tags)),
)


def negated(part: Expression) -> Expression:
    def holds(one: Walked) -> bool | None:
        found = part[1](one)
        return None if found is None else not found

    return f"not ({part[0]})", holds


def joined(word: str) -> Callable[[list[Expression]], Expression]:
    decisive = word == "or"

    def made(parts: list[Expression]) -> Expression:
        def holds(one: Walked) -> bool | None:
            found = [part[1](one) for part in parts]
            if decisive in found:
                return decisive
            return None if None in found else not decisive

        return f" {word} ".join(f"({part[0]})" for part in parts), holds

    return made


EXPRESSIONS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        parts.map(negated),
        st.lists(parts, min_size=2, max_size=3).map(joined("and")),
        st.lists(parts, min_size=2, max_size=3).map(joined("or")),
    ),
    max_leaves=6,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(expression=EXPRESSIONS, top=st.sampled_from(["/", "/", "/d0", "/d1"]))
def test_what_is_found_is_what_a_walk_finds(tree: Tree, expression: Expression, top: str) -> None:
    written, holds = expression
    files = {one.path: one for one in tree.files}
    if top not in files:
        top = "/"
    wanted = sorted(
        one.path
        for one in tree.files
        if holds(one) and (top in {"/", one.path} or one.path.startswith(f"{top}/"))
    )
    ino = files[top].status.st_ino
    assert sorted(row[0] for row in ask(tree.index, NOW, written, top=ino)) == wanted
    assert ask(tree.index, NOW, written, top=ino, count=True) == [[len(wanted)]]


def test_every_file_is_found_by_an_empty_expression(tree: Tree) -> None:
    assert sorted(row[0] for row in ask(tree.index, NOW, "")) == sorted(
        one.path for one in tree.files
    )


def test_an_indexed_tag_is_found_by_its_index(tree: Tree) -> None:
    ((lines,),) = ask(tree.index, NOW, "user.label = mitosis and size > 0", explain=True)
    assert lines[0] == "rows: by the index of user.label"
    wanted = {one.path for one in tree.files if one.tags.get("user.label") in {"mitosis", "42"}}
    assert {row[0] for row in ask(tree.index, NOW, "user.label in (mitosis, 42)")} == wanted
    for other in (
        "user.label = m*",
        "not user.label = mitosis",
        "user.label = mitosis or size > 1",
    ):
        ((lines,),) = ask(tree.index, NOW, other, explain=True)
        assert lines[0].startswith("rows: all inodes")


def test_rows_are_sorted_limited_and_grouped(tree: Tree) -> None:
    regular = [one for one in tree.files if stat.S_ISREG(one.status.st_mode)]
    columns = ("path", "size", "owner", "user.label", "mtime")
    rows = ask(
        tree.index, NOW, "type = file", columns=columns, sort="size", descending=True, limit=9
    )
    assert [row[1] for row in rows] == sorted(
        (one.status.st_size for one in regular), reverse=True
    )[:9]
    by_path = {one.path: one for one in regular}
    for path, size, owner, label, mtime in ask(tree.index, NOW, "type = file", columns=columns):
        one = by_path[path]
        assert (size, owner, mtime) == (
            one.status.st_size,
            one.status.st_uid,
            one.status.st_mtime_ns,
        )
        assert label == one.tags.get("user.label")
    groups = ask(tree.index, NOW, "type = file", group_by="user.label")
    assert {value: (files, size) for value, files, size in groups} == {
        label: (
            sum(one.tags.get("user.label") == label for one in regular),
            sum(one.status.st_size for one in regular if one.tags.get("user.label") == label),
        )
        for label in {one.tags.get("user.label") for one in regular}
    }
    labels = [
        row[0] for row in ask(tree.index, NOW, "", columns=("user.label",), sort="user.label")
    ]
    known = [label for label in labels if label is not None]
    assert known == sorted(known)
    assert labels[len(known) :] == [None] * (len(labels) - len(known))  # at the end


def test_a_path_leads_to_the_directory_that_it_begins_with(tree: Tree) -> None:
    below = [one.path for one in tree.files if one.path.startswith("/d0/")]
    for expression in ("path = /d0/**", "path = /d0/** and size >= 0"):
        ((lines,),) = ask(tree.index, NOW, expression, explain=True)
        assert lines[0].startswith("rows: by the directories below the one")
        assert sorted(row[0] for row in ask(tree.index, NOW, expression)) == sorted(below)
    assert ask(tree.index, NOW, "path = /none/of/this/**") == []
    for other in ("path = /*/**", "not path = /d0/**", "path = /d0/** or size > 1"):
        ((lines,),) = ask(tree.index, NOW, other, explain=True)
        assert lines[0].startswith("rows: all inodes")
