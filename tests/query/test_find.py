"""``tierfs find`` and ``tierfs sql`` of a mount."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.benchmarks.backing_up import workers_of
from tests.query.asking import whole_numbers
from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tests.support.proc import Argument, run
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.once

ODD = b"odd \xff\n.tif"


@pytest.fixture
def tree(mounted: Mount) -> Mount:
    (mounted.path / "a/b").mkdir(parents=True)
    (mounted.path / "a/large.tif").write_bytes(bytes(3 * HEAD))
    (mounted.path / "a/b/small.tif").write_bytes(b"x" * 100)
    (mounted.path / "other.jpg").write_bytes(b"x")
    os.setxattr(mounted.path / "a/large.tif", "user.label", b"mitosis")
    os.setxattr(mounted.path / "other.jpg", "user.label", b"other")
    os.setxattr(mounted.path / "other.jpg", "trusted.secret", b"hidden")
    return mounted


def find(path: Path, expression: str, *options: str) -> list[str]:
    """The paths, from the mountpoint."""
    found = tierfs("find", path, expression, "-0", *options).split("\0")[:-1]
    return sorted(found)


def test_paths_are_told_as_they_are_found(tree: Mount) -> None:
    top = os.fspath(tree.path)
    assert find(tree.path, "name = *.tif") == [f"{top}/a/b/small.tif", f"{top}/a/large.tif"]
    assert find(tree.path / "a/b", "size > 0 and type = file") == [f"{top}/a/b/small.tif"]
    assert find(tree.path / "a/b", "") == [f"{top}/a/b", f"{top}/a/b/small.tif"]
    assert find(tree.path, "user.label = mitosis and tier = split") == [f"{top}/a/large.tif"]
    assert find(tree.path, "path = /a/* and not pinned") == [f"{top}/a/b", f"{top}/a/large.tif"]


def test_what_was_just_written_is_seen(tree: Mount) -> None:
    file = tree.path / "growing"
    with file.open("wb", buffering=0) as growing:
        for size in (1, 70_000, 200_000):
            growing.write(bytes(size - growing.tell()))
            assert find(tree.path, f"name = growing and size = {size}") == [os.fspath(file)]
    os.setxattr(file, "user.x", b"1")
    assert find(tree.path, "user.x = 1") == [os.fspath(file)]
    file.unlink()
    assert find(tree.path, "name = growing") == []


def test_finds_in_a_row_share_a_process_which_ends_with_the_mount(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "one").write_bytes(b"x")
    found = [os.fspath(mount.path / "one")]
    assert find(mount.path, "type = file") == found
    (worker,) = workers_of(mount.pid)
    assert find(mount.path, "size = 1") == found
    assert tierfs("sql", mount.path, "SELECT count(*) FROM files WHERE size = 1").split()[-1] == "1"
    assert workers_of(mount.pid) == [worker]
    mount.unmount()
    assert not Path(f"/proc/{worker}").exists()


def test_names_that_are_no_text_are_told_as_they_are(tree: Mount) -> None:
    (tree.path / os.fsdecode(ODD)).write_bytes(b"x")
    program = f"tierfs find {tree.path} 'name = odd*'"
    assert "odd \\xff\\n.tif" in tierfs("find", tree.path, "name = odd*")
    shown = json.loads(tierfs("find", tree.path, "name = odd*", "--json"))
    assert [os.fsencode(row["path"]) for row in shown["rows"]] == [
        os.fsencode(tree.path) + b"/" + ODD
    ], program


def test_formats(tree: Mount, tmp_path: Path) -> None:
    columns = ("--columns", "path,size,user.label,mtime,owner,pinned,tags")
    expression = "type = file and user.label is set"
    rows = json.loads(tierfs("find", tree.path, expression, "--json", *columns))["rows"]
    by_path = {row["path"]: row for row in rows}
    large = by_path[f"{tree.path}/a/large.tif"]
    assert (large["size"], large["user.label"], large["pinned"]) == (3 * HEAD, "mitosis", False)
    assert large["tags"] == {"user.label": "mitosis"}
    assert large["mtime"].endswith("Z")
    table = list(
        csv.DictReader(io.StringIO(tierfs("find", tree.path, expression, "--csv", *columns)))
    )
    assert {row["path"]: row["size"] for row in table} == {
        row["path"]: str(row["size"]) for row in rows
    }
    lines = tierfs("find", tree.path, expression, *columns).splitlines()
    assert lines[0].split() == ["path", "size", "user.label", "mtime", "owner", "pinned", "tags"]
    assert len(lines) == len(rows) + 1
    for suffix in ("jsonl", "csv", "parquet"):
        tierfs("find", tree.path, expression, *columns, "--output", tmp_path / f"found.{suffix}")
    written = (tmp_path / "found.jsonl").read_text().splitlines()
    assert sorted(map(json.loads, written), key=str) == sorted(rows, key=str)
    loaded = whole_numbers(pq.read_table(tmp_path / "found.parquet"))
    status = (tree.path / "a/large.tif").stat()
    (one,) = (row for row in loaded if row["size"] == 3 * HEAD)
    assert one["user.label"] == "mitosis"
    assert one["mtime"] == status.st_mtime_ns


def test_counts_groups_and_explanations(tree: Mount) -> None:
    assert tierfs("find", tree.path, "type = file", "--count") == "3\n"
    groups = json.loads(tierfs("find", tree.path, "type = file", "--group-by", "tier", "--json"))
    assert {row["tier"]: (row["files"], row["bytes"]) for row in groups["rows"]} == {
        "flash": (2, 101),
        "split": (1, 3 * HEAD),
    }
    lines = tierfs("find", tree.path, "path = **/a/**", "--explain").splitlines()
    assert lines[0].startswith("rows: all inodes")
    assert any("Python" in line for line in lines)
    sizes = tierfs(
        "find", tree.path, "type = file", "--sort", "-size", "--limit", "2", "--columns", "size"
    )
    assert sizes.split() == ["192KiB", "100B"]


def test_mistakes_are_shown_with_their_place(tree: Mount) -> None:
    said = tierfs("find", tree.path, "sise > 1", statuses=(ExitCode.USAGE,))
    assert 'column 1: there is no field "sise"; did you mean "size"?' in said
    assert "\n  sise > 1\n  ^\n" in said
    tierfs("find", tree.path, "", "--columns", "nothing", statuses=(ExitCode.USAGE,))
    tierfs("find", tree.path, "", "--sort", "nothing", statuses=(ExitCode.USAGE,))
    tierfs("find", tree.path, "", "--json", "--csv", statuses=(ExitCode.USAGE,))
    tierfs("find", tree.path, "", "-o", "x.txt", statuses=(ExitCode.USAGE,))
    tierfs("find", tree.path / "other.jpg", "", statuses=(ExitCode.USAGE,))


def test_attributes_of_other_namespaces_are_never_told(tree: Mount) -> None:
    for field in ("trusted.secret", "security.x", "system.posix_acl_access"):
        tierfs("find", tree.path, f"{field} = hidden", statuses=(ExitCode.USAGE,))
        tierfs("find", tree.path, "", "--columns", field, statuses=(ExitCode.USAGE,))
    assert "hidden" not in tierfs("find", tree.path, "", "--json", "--columns", "path,tags,facts")
    assert "hidden" not in tierfs("sql", tree.path, "SELECT * FROM tags")


# ------------------------------------------------------------------ the group


def test_a_group_may_ask_if_the_volume_file_says_so(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    mount.configure("control", "{group: nogroup}")
    mount.mount("allow_other")
    (mount.path / "file").write_bytes(b"x")
    (mount.path / "file").chmod(0o600)
    member: list[Argument] = ["setpriv", "--reuid=54321", "--regid=nogroup", "--clear-groups"]
    program: list[Argument] = [
        *member,
        sys.executable,
        "-m",
        "tierfs",
        "find",
        mount.path,
        "name = file",
    ]
    refused = run(program, statuses=(ExitCode.NOT_MOUNTED,))
    assert "only root and the user who mounted it" in refused.stderr
    mount.unmount()
    mount.configure("control", "{group: nogroup, find: true}")
    mount.mount("allow_other")
    assert run(program).stdout == f"{mount.path}/file\n"


# ------------------------------------------------------------------ SQL


def test_views_are_selected_from(tree: Mount) -> None:
    rows = json.loads(
        tierfs(
            "sql",
            tree.path,
            "SELECT names.name, size FROM files JOIN names USING (inode) WHERE type = 'file' "
            "ORDER BY size DESC",
            "--json",
        )
    )["rows"]
    assert [row["name"] for row in rows] == ["large.tif", "small.tif", "other.jpg"]
    said = tierfs("sql", tree.path, "SELECT value, count(*) AS n FROM tags GROUP BY 1 ORDER BY 1")
    assert [line.split() for line in said.splitlines()] == [
        ["value", "n"],
        ["mitosis", "1"],
        ["other", "1"],
    ]
    assert tierfs("sql", tree.path, "SELECT 1 WHERE 0") == ""


def test_what_is_refused_ends_the_command(tree: Mount) -> None:
    said = tierfs("sql", tree.path, "SELECT * FROM xattr", statuses=(ExitCode.NOT_MOUNTED,))
    assert "refused" in said
    assert "only SELECT on the views" in said
