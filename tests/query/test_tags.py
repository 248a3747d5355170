"""``tierfs tag``, ``tierfs manifest`` and ``tierfs view`` of a mount."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.query.asking import whole_numbers
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs, tierfs_here
from tests.support.proc import ProgramFailed
from tierfs.common.errors import ExitCode, NotMounted
from tierfs.daemon.control_client import Daemon
from tierfs.query.view import Member, component, names

pytestmark = pytest.mark.once


@pytest.fixture
def tree(mounted: Mount) -> Mount:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/c/3.jpg"):
        file = mounted.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode() * HEAD)
    return mounted


def tag(path: Path, name: str = "user.label") -> str | None:
    try:
        return os.getxattr(path, name).decode()
    except OSError:
        return None


def test_tags_are_set_shown_and_removed(tree: Mount) -> None:
    one, two = tree.path / "a/1.jpg", tree.path / "a/2.jpg"
    tierfs_here("tag", "set", "label=cat", one, two)
    assert (tag(one), tag(two)) == ("cat", "cat")
    tierfs_here("tag", "set", "-r", "user.set=b=c", tree.path / "b")
    assert tag(tree.path / "b/c/3.jpg", "user.set") == "b=c"
    assert tierfs_here("tag", "get", "label", one) == f"{one}: cat\n"
    shown = json.loads(tierfs_here("tag", "list", "-r", "--json", tree.path))
    assert shown[f"{tree.path}/b/1.jpg"] == {"user.set": "b=c"}
    assert tierfs_here("tag", "list", one) == f"{one}: user.label=cat\n"
    tierfs_here("tag", "remove", "-r", "label", tree.path)
    assert (tag(one), tag(two)) == (None, None)
    assert json.loads(tierfs_here("tag", "get", "--json", "-r", "set", tree.path)) == {
        f"{tree.path}/b/1.jpg": "b=c",
        f"{tree.path}/b/c/3.jpg": "b=c",
    }


def test_wrong_tags_are_refused(tree: Mount) -> None:
    tierfs("tag", "set", "label", tree.path / "a/1.jpg", statuses=(ExitCode.USAGE,))
    tierfs("tag", "set", "user.=x", tree.path / "a/1.jpg", statuses=(ExitCode.USAGE,))
    tierfs("tag", "set", "label=x", tree.path / "a", statuses=(ExitCode.UNEXPECTED,))
    tierfs("tag", "get", "label", tree.path / "none", statuses=(ExitCode.UNEXPECTED,))


def test_tables_set_many(tree: Mount, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(
        "path,label,user.split\na/1.jpg,cat,train\na/2.jpg,,test\nnone.jpg,x,y\n"
    )
    said = tierfs(
        *("tag", "import", tmp_path / "labels.csv", "--root", tree.path),
        statuses=(ExitCode.UNEXPECTED,),
    )
    assert said.startswith("set 3 tags in ")
    assert "none.jpg" in said
    assert (tag(tree.path / "a/1.jpg"), tag(tree.path / "a/2.jpg")) == ("cat", None)
    assert tag(tree.path / "a/2.jpg", "user.split") == "test"
    table = pa.table({"path": ["b/1.jpg", "b/c/3.jpg"], "label": [None, "dog"], "score": [7, None]})
    pq.write_table(table, tmp_path / "labels.parquet")
    tierfs_here("tag", "import", tmp_path / "labels.parquet", "--root", tree.path)
    assert tag(tree.path / "b/c/3.jpg") == "dog"
    assert tag(tree.path / "b/1.jpg", "user.score") == "7"
    assert tag(tree.path / "b/1.jpg") is None


def test_what_a_table_sets_is_seen_at_once(tree: Mount, tmp_path: Path) -> None:
    one = tree.path / "a/1.jpg"
    (tree.path / "link").symlink_to("b")
    before = {name: (tree.path / name).stat() for name in ("a/1.jpg", "b/1.jpg", "a/2.jpg")}
    assert tag(one) is None
    (tmp_path / "labels.csv").write_text(
        f"path,label\na/1.jpg,é\nlink/1.jpg,by link\n{tree.path}/a/2.jpg,absolute\n"
        "./b/c/3.jpg,dot\n"
    )
    said = tierfs_here("tag", "import", tmp_path / "labels.csv", "--root", tree.path)
    assert said.startswith("set 4 tags")
    assert tag(one) == "é"
    assert tag(tree.path / "b/1.jpg") == "by link"
    assert tag(tree.path / "a/2.jpg") == "absolute"
    assert tag(tree.path / "b/c/3.jpg") == "dot"
    for name, status in before.items():
        now = (tree.path / name).stat()
        assert now.st_ctime_ns > status.st_ctime_ns
        assert now.st_mtime_ns == status.st_mtime_ns
    (tmp_path / "again.csv").write_text("path,label\n1.jpg,cat\n2.jpg,dog\n")
    tierfs_here("tag", "import", tmp_path / "again.csv", "--root", tree.path / "a")
    assert (tag(one), tag(tree.path / "a/2.jpg")) == ("cat", "dog")
    found = tierfs("find", tree.path, "user.label = dog").splitlines()
    assert found == [f"{tree.path}/a/2.jpg"]


def test_a_large_table_is_set_in_pieces(tree: Mount, tmp_path: Path) -> None:
    (tree.path / "many").mkdir()
    names = [f"many/{number}" for number in range(700)]
    for name in names:
        (tree.path / name).touch()
    table = pa.table({"path": names, "note": [f"{name} {'x' * 200}" for name in names]})
    pq.write_table(table, tmp_path / "notes.parquet")
    tierfs_here("tag", "import", tmp_path / "notes.parquet", "--root", tree.path)
    for name in names:
        assert tag(tree.path / name, "user.note") == f"{name} {'x' * 200}"


@pytest.mark.parametrize(
    "files", [1, [1], [["a"]], [["a", [["trusted.x", "y"]]]], [["a", [["user.", ""]]]]]
)
def test_nothing_but_tags_is_set_by_the_daemon(files: object, tree: Mount) -> None:
    with pytest.raises(NotMounted, match="refused"):
        Daemon(tree.path).ask("tags", files=files)
    for path in ("none", "a", "../a/1.jpg", "a/1.jpg/x", ""):
        assert Daemon(tree.path).ask("tags", files=[[path, [["user.x", "y"]]]])["failed"]


@pytest.mark.parametrize(
    "text", ["label\nx\n", "path,label,user.label\na,b,c\n", "path,a\nx\n", ""]
)
def test_tables_that_are_none_are_refused(text: str, tree: Mount, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    tierfs("tag", "import", tmp_path / "bad.csv", "--root", tree.path, statuses=(ExitCode.USAGE,))
    (tmp_path / "bad.parquet").write_text(text)
    tierfs("tag", "import", tmp_path / "bad.parquet", statuses=(ExitCode.USAGE,))
    tierfs("tag", "import", tmp_path / "bad.txt", statuses=(ExitCode.USAGE,))


def test_indexes_of_tags_come_and_go_with_the_volume_file(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    mount.mount()
    (mount.path / "file").write_bytes(b"x")
    os.setxattr(mount.path / "file", "user.label", b"cat")

    def way() -> str:
        return tierfs("find", mount.path, "user.label = cat", "--explain").splitlines()[0]

    assert way().startswith("rows: all inodes")
    mount.unmount()
    mount.configure("tags", "{index: [user.label, 'user.\"odd']}")
    mount.mount()
    assert way() == "rows: by the index of user.label"
    assert tierfs("find", mount.path, "user.label = cat") == f"{mount.path}/file\n"
    os.setxattr(mount.path / "file", "user.label", b"dog")
    assert tierfs("find", mount.path, "user.label in (cat, dog)", "--count") == "1\n"
    mount.unmount()
    tierfs("fsck", mount.volume_file)
    mount.configure("tags", "{index: []}")
    mount.mount()
    assert way().startswith("rows: all inodes")


# ------------------------------------------------------------------ manifests


def test_a_manifest_has_what_a_walk_finds(tree: Mount, tmp_path: Path) -> None:
    tierfs_here("tag", "set", "label=cat", tree.path / "b/1.jpg")
    said = tierfs_here("manifest", tree.path / "b", "-o", tmp_path / "b.parquet")
    assert said == f"2 files in {tmp_path / 'b.parquet'}\n"
    rows = {row["path"]: row for row in whole_numbers(pq.read_table(tmp_path / "b.parquet"))}
    assert rows.keys() == {"1.jpg", "c/3.jpg"}
    for path, row in rows.items():
        status = (tree.path / "b" / path).stat()
        assert row["size"] == status.st_size
        assert row["mtime"] == status.st_mtime_ns
        assert row["tier"] == "split"
    assert (rows["1.jpg"]["user.label"], rows["c/3.jpg"]["user.label"]) == ("cat", None)
    tierfs_here("manifest", tree.path, "user.label is set", "-o", tmp_path / "all.jsonl")
    (line,) = (tmp_path / "all.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == "b/1.jpg"
    assert json.loads(line)["tags"] == {"user.label": "cat"}


# ------------------------------------------------------------------ views


def links(view: Path) -> dict[str, int]:
    """The links of a view, with their inodes."""
    return {
        os.fspath(file.relative_to(view)): file.stat().st_ino
        for file in view.rglob("*")
        if not file.is_dir()
    }


def test_a_view_has_a_directory_for_each_label(tree: Mount) -> None:
    for name, label in (("a/1.jpg", "cat"), ("a/2.jpg", "d/og"), ("b/1.jpg", "cat")):
        tierfs_here("tag", "set", f"label={label}", tree.path / name)
    view = tree.path / "view"
    assert tierfs_here("view", "create", view, "name = *.jpg", "--by", "user.label").startswith(
        "3 links made"
    )
    numbers = {name: (tree.path / name).stat().st_ino for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg")}
    assert links(view) == {
        f"cat/1.{numbers['a/1.jpg']}.jpg": numbers["a/1.jpg"],
        f"cat/1.{numbers['b/1.jpg']}.jpg": numbers["b/1.jpg"],
        "d%2Fog/2.jpg": numbers["a/2.jpg"],
    }
    assert stat.S_IMODE((view / "cat").stat().st_mode) == 0o700
    # The other path counts, and each file once.
    assert tierfs("find", tree.path, "name = 2.jpg") == f"{tree.path}/a/2.jpg\n"
    assert tierfs("find", tree.path, "type = file", "--count") == "4\n"
    tierfs_here("tag", "set", "label=cat", tree.path / "a/2.jpg")
    tierfs_here("tag", "remove", "label", tree.path / "b/1.jpg")
    said = tierfs_here("view", "refresh", view)
    assert said == "2 links made, 0 kept, 3 removed\n"
    assert links(view) == {"cat/1.jpg": numbers["a/1.jpg"], "cat/2.jpg": numbers["a/2.jpg"]}
    assert tierfs_here("view", "refresh", view) == "0 links made, 2 kept, 0 removed\n"
    assert tierfs_here("view", "remove", view) == "0 links made, 0 kept, 2 removed\n"
    assert not view.exists()
    assert (tree.path / "a/2.jpg").stat().st_nlink == 1


def test_what_has_no_other_name_stays_in_a_view(tree: Mount) -> None:
    tierfs_here("tag", "set", "label=cat", tree.path / "a/1.jpg")
    view = tree.path / "view"
    tierfs_here("view", "create", view, "name = *.jpg", "--by", "user.label")
    (view / "cat/mine").write_bytes(b"x")
    (tree.path / "a/1.jpg").unlink()
    said = tierfs("view", "remove", view, statuses=(ExitCode.UNEXPECTED,))
    assert "cat/1.jpg is no link of the view, and stays" in said
    assert (view / "cat/1.jpg").read_bytes() == b"a/1.jpg" * HEAD
    assert (view / "cat/mine").read_bytes() == b"x"


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_view_that_was_interrupted_is_completed(
    at: int, tree: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    tierfs_here("tag", "set", "-r", "label=cat", tree.path / "a")
    tierfs_here("tag", "set", "-r", "label=dog", tree.path / "b")
    view = tree.path / "view"
    link = os.link
    made: list[Path] = []

    def failing(source: Path, target: Path, *, follow_symlinks: bool) -> None:
        if len(made) == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), source, None, target)
        made.append(target)
        link(source, target, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as broken:
        broken.setattr(os, "link", failing)
        with pytest.raises(ProgramFailed, match="Input/output error"):
            tierfs_here("view", "create", view, "size > 0", "--by", "user.label")
    assert len(links(view)) == at
    said = tierfs_here("view", "refresh", view)
    assert said == f"{4 - at} {'link' if at == 3 else 'links'} made, {at} kept, 0 removed\n"
    assert len(links(view)) == 4
    unlink = Path.unlink
    with monkeypatch.context() as broken:
        gone: list[Path] = []

        def failing_too(path: Path, *_: object, **__: object) -> None:
            if len(gone) == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            gone.append(path)
            unlink(path)

        broken.setattr(Path, "unlink", failing_too)
        with pytest.raises(ProgramFailed, match="Input/output error"):
            tierfs_here("view", "remove", view)
    tierfs_here("view", "remove", view)
    assert not view.exists()
    assert all((tree.path / name).stat().st_nlink == 1 for name in ("a/1.jpg", "b/c/3.jpg"))


def test_a_view_of_symbolic_links(tree: Mount) -> None:
    tierfs_here("tag", "set", "-r", "label=cat", tree.path / "b")
    view = tree.path / "view"
    tierfs_here(
        "view",
        "create",
        view,
        "size > 0",
        "--by",
        "user.label",
        "--of",
        tree.path / "b/c",
        "--symlink",
    )
    assert os.readlink(view / "cat/3.jpg") == "../../b/c/3.jpg"
    assert (view / "cat/3.jpg").read_bytes() == (tree.path / "b/c/3.jpg").read_bytes()
    assert tierfs_here("view", "refresh", view) == "0 links made, 1 kept, 0 removed\n"
    tierfs_here("view", "remove", view)
    assert not view.exists()


def test_a_directory_that_is_no_view_is_refused(tree: Mount) -> None:
    tierfs("view", "refresh", tree.path / "a", statuses=(ExitCode.USAGE,))
    tierfs("view", "remove", tree.path / "a", statuses=(ExitCode.USAGE,))
    tierfs("view", "create", tree.path / "a", "", "--by", "size", statuses=(ExitCode.USAGE,))
    assert (tree.path / "a/1.jpg").exists()


def test_labels_become_one_component() -> None:
    labels = ["", ".", "..", "...", "a/b", "a%2Fb", "%", "x" * 300, "x" * 301, "é" * 200, "a\0b"]
    made = [component(label) for label in labels]
    assert len(set(made)) == len(labels)
    for name in made:
        assert 1 <= len(os.fsencode(name)) <= 255
        assert "/" not in name
        assert "\0" not in name
        assert name not in {".", ".."}


def test_names_that_collide_have_numbers() -> None:
    long = "y" * 251 + ".jpg"
    found = names(
        [
            Member("/a/x.jpg", 1, "l"),
            Member("/b/x.jpg", 2, "l"),
            Member("/b/x.jpg", 3, "m"),
            Member(f"/a/{long}", 4, "l"),
            Member(f"/b/{long}", 5, "l"),
            Member("/a/.x", 6, "l"),
            Member("/b/.x", 7, "l"),
        ]
    )
    assert found["m"] == {"x.jpg": Member("/b/x.jpg", 3, "m")}
    assert {member.inode for member in found["l"].values()} == {1, 2, 4, 5, 6, 7}
    assert {"x.1.jpg", "x.2.jpg", ".x.6", ".x.7"} <= found["l"].keys()
    assert all(len(os.fsencode(name)) <= 255 for name in found["l"])
