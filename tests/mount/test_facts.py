"""Header facts on a mount: read by a confined worker process, seen as attributes and by rules."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount, tierfs
from tests.support.proc import wait_until
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.long

WIDTH = "tierfs.fact.image.width"


def facts(mount: Mount, verb: str, *options: str) -> dict[str, Any]:
    """What a verb says, in JSON."""
    record = json.loads(tierfs("facts", verb, mount.path, "--json", *options))
    assert isinstance(record, dict)
    return record


def looked_at(mount: Mount) -> dict[str, Any]:
    """Have all files looked at, once their bytes are settled."""
    mount.remount()
    return facts(mount, "run", "--wait")


def width(path: Path) -> bytes | None:
    try:
        return os.getxattr(path, WIDTH)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None


@contextmanager
def writing(directory: Path) -> Iterator[list[Path]]:
    """Inside the block somebody goes on making images; yields those so far."""
    made, done = list[Path](), threading.Event()

    def write() -> None:
        while not done.wait(0.1):
            made.append(directory / f"{len(made)}.png")
            Image.new("L", (5, 5)).save(made[-1])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield made
    finally:
        done.set()
        thread.join()


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    """A mount that reads facts."""
    made = make_mount.formatted()
    made.configure("facts", "{enabled: true, quiet: 1s}")
    made.mount()
    return made


def test_an_image_has_its_width_until_it_changes(mount: Mount) -> None:
    path = mount.path / "a.png"
    Image.new("RGB", (640, 480)).save(path)
    assert width(path) is None
    record = looked_at(mount)
    assert (record["state"], record["files"]["found"], record["missing"]) == ("idle", 1, {})
    assert width(path) == b"640"
    assert os.getxattr(path, "tierfs.fact.image.format") == b"PNG"
    assert os.listxattr(path) == []
    with path.open("r+b") as stream:
        stream.write(b"no image")
        stream.flush()
        assert width(path) is None
    looked_at(mount)
    assert width(path) is None


def test_a_file_is_looked_at_by_itself_when_it_is_left_alone(mount: Mount) -> None:
    path = mount.path / "a.png"
    Image.new("L", (12, 34)).save(path)
    mount.remount()
    wait_until(lambda: width(path) == b"12", what="the width", timeout=60)


def test_waiting_ends_beside_a_steady_writer_with_facts_of_all_that_was_there(mount: Mount) -> None:
    mount.configure("facts", "{enabled: true, quiet: 1d}")
    there = [mount.path / f"{number}.png" for number in range(20)]
    for path in there:
        Image.new("L", (12, 34)).save(path)
    (mount.path / "new").mkdir()
    mount.remount()
    with writing(mount.path / "new") as made:
        wait_until(lambda: len(made) > 1, what="a new file", timeout=60)
        record = facts(mount, "run", "--wait")
        last = len(made)
        assert {width(path) for path in there} == {b"12"}
        assert width(made[0]) == b"5"  # settled since by a checkpoint
        wait_until(lambda: len(made) > last, what="the writer goes on", timeout=60)
    assert (record["asked"], record["state"]) == (False, "working")


def test_what_is_wrong_is_listed(mount: Mount) -> None:
    (mount.path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (mount.path / "plain.txt").write_bytes(b"plain")
    looked_at(mount)
    lines = tierfs("facts", "errors", mount.path).splitlines()
    assert lines == ["/a.png: no image that Pillow can read"]
    (found,) = map(json.loads, tierfs("facts", "errors", "--json", mount.path).splitlines())
    assert (found["path"], found["extractor"]) == ("/a.png", "image")
    status = tierfs("facts", "status", mount.path)
    assert "0 with facts, 1 unknown, 1 wrong" in status


def test_who_may_not_read_a_file_sees_no_fact_of_it(mount: Mount) -> None:
    path = mount.path / "a.png"
    Image.new("RGB", (640, 480)).save(path)
    looked_at(mount)
    program = f"import os; print(os.getxattr({os.fspath(path)!r}, {WIDTH!r}))"
    said = []
    for mode in (0o644, 0o640):
        path.chmod(mode)
        done = subprocess.run(
            ["python3", "-c", program],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            check=False,
            cwd="/",
        )
        said.append(done.stdout.strip() or done.stderr.splitlines()[-1])
    assert said[0] == b"b'640'"
    assert said[1].startswith(b"PermissionError")
    assert width(path) == b"640"


def test_a_rule_matches_what_has_the_fact(mount: Mount) -> None:
    for name, size in (("wide.png", 600), ("small.png", 10)):
        Image.new("RGB", (size, 10)).save(mount.path / name)
    (mount.volume_file.parent / "policy.yaml").write_text(
        'version: 1\nrules:\n  - {name: wide, match: {fact: {image.width: ">= 600"}}, head: all}\n'
    )
    mount.configure("policy", "policy.yaml")
    before = [mount.path / "wide.png", mount.path / "small.png"]
    looked_at(mount)
    rules = [json.loads(tierfs("policy", "explain", "--json", path)) for path in before]
    assert [rule[0]["rule"] if isinstance(rule, list) else rule["rule"] for rule in rules] == [
        "wide",
        None,
    ]


def test_without_the_key_nothing_is_looked_at(make_mount: MakeMount) -> None:
    mount = make_mount.formatted()
    mount.mount()
    Image.new("RGB", (640, 480)).save(mount.path / "a.png")
    assert facts(mount, "status") == {"enabled": False}
    said = tierfs("facts", "run", mount.path, statuses=[ExitCode.NOT_MOUNTED])
    assert "facts: {enabled: true}" in said
