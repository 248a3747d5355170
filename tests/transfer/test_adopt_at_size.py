"""``tierfs adopt`` of many files: killed at random moments, and used by both sides afterwards.

``TIERFS_ADOPT_FILES=100000`` makes the tree as large as that; a run then takes some minutes.
"""

from __future__ import annotations

import errno
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from subprocess import Popen

import pytest

from tests.support.fixtures import MakeMount
from tests.support.loop_devices import Kind, loop_filesystem
from tests.support.mounting import tierfs
from tests.support.proc import run, start, wait_until
from tierfs.storage.markers import MARKER

FILES = int(os.environ.get("TIERFS_ADOPT_FILES", "2000"))
KILLS = 20 if FILES > 10_000 else 5
IN_A_DIRECTORY = 100

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600 if FILES > 10_000 else 300)]


def content(number: int) -> bytes:
    """Of a file: not a multiple of a block, and another for each."""
    return b"%07d " % number * (20 + number % 400)


def path_of(tree: Path, number: int) -> Path:
    return tree / f"{number // IN_A_DIRECTORY:05}" / f"file {number}"


@pytest.fixture
def tree(scratch: Path) -> Path:
    tree = scratch / "tree"
    for number in range(FILES):
        path = path_of(tree, number)
        if number % IN_A_DIRECTORY == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(content(number))
        os.utime(path, ns=(10**18 + number, 10**18 + number))
    for number in range(0, FILES, 50):
        os.link(path_of(tree, number), path_of(tree, number).with_name(f"link of {number}"))
        os.setxattr(path_of(tree, number), "user.number", b"%d" % number)
    return tree


def state(path: Path) -> tuple[object, ...]:
    """All of an original that nobody but its owner may change."""
    found = path.stat()
    xattrs = [(name, os.getxattr(path, name)) for name in os.listxattr(path)]
    attributes = (found.st_mode, found.st_uid, found.st_gid, found.st_size, found.st_mtime_ns)
    return (*attributes, path.read_bytes(), xattrs)


def has_begun(adopt: Popen[str], marker: Path) -> bool:
    """Whether it has locked the volume, which is only looked at (proc_locks(5)), or has ended."""
    held = f":{marker.stat().st_ino} " in Path("/proc/locks").read_text()
    return held or adopt.poll() is not None


def test_killed_at_random_moments_it_is_as_one_run(make_mount: MakeMount, tree: Path) -> None:
    """The process that has the volume open is killed, not only who asks it."""
    mount = make_mount()
    mount.unmount()
    chance = random.Random(FILES)
    killed = 0
    words = ["-m", "tierfs", "adopt", "--volume", os.fspath(mount.volume_file), os.fspath(tree)]
    while killed < KILLS:
        adopt = start([sys.executable, *words])
        wait_until(partial(has_begun, adopt, mount.flash / MARKER), what="adopt has the volume")
        # The first two early, so that some kills come before the end on any machine.
        time.sleep(chance.random() * (0.03 if killed < 2 else 0.3 + FILES / 60_000))
        if adopt.poll() is not None:
            adopt.communicate()
            break  # it was done before it was to be killed
        adopt.kill()
        adopt.communicate()
        killed += 1
    assert killed > 1
    tierfs("adopt", "--volume", mount.volume_file, tree)
    tierfs("fsck", mount.volume_file)
    mount.mount()
    said = run(["rsync", "-aHAXc", "--dry-run", "--itemize-changes", f"{tree}/", f"{mount.path}/"])
    assert said.stdout == ""
    links = path_of(tree, 0).stat().st_nlink
    assert links == 3, "an object of an earlier run is left"


def test_originals_stay_and_what_their_owners_change_is_told(
    make_mount: MakeMount, tree: Path
) -> None:
    mount = make_mount()
    tierfs("adopt", tree, mount.path)
    mount.log.allow("changed outside of the volume")
    changed = set(range(7, FILES, 50))
    for number in changed:
        path = path_of(tree, number)
        if number % 100 == 7:
            os.truncate(path, 11)
        else:
            with path.open("r+b") as file:
                file.write(b"new")
    for number in range(FILES):
        path = path_of(mount.path, number)
        if number not in changed:
            assert path.read_bytes() == content(number)
            continue
        with pytest.raises(OSError, match="Input/output error") as error:
            path.read_bytes()
        assert error.value.errno == errno.EIO
    said = tierfs("adopt", "--refresh", mount.path)
    assert said.startswith(f"{len(changed):,} file")
    for number in changed:
        assert path_of(mount.path, number).read_bytes() == path_of(tree, number).read_bytes()
    before = [state(path_of(tree, number)) for number in range(FILES)]
    for number in range(FILES):
        path = path_of(mount.path, number)
        with path.open("r+b", buffering=0) as opened:
            opened.write(b"overwritten")
        os.truncate(path, number % 13)
        path.chmod(0o600)
        assert path.read_bytes() == wanted(before[number], number % 13)
        path.unlink()
    mount.unmount()
    assert [state(path_of(tree, number)) for number in range(FILES)] == before
    tierfs("fsck", mount.volume_file)


def wanted(state: tuple[object, ...], size: int) -> bytes:
    """What a file is after its beginning was overwritten and it was truncated to ``size``."""
    data = state[5]
    assert isinstance(data, bytes)
    return (b"overwritten" + data[11:]).ljust(size, b"\0")[:size]


def blocks(directory: Path) -> int:
    """Bytes in use on a filesystem."""
    os.sync()
    found = os.statvfs(directory)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_the_first_change_shares_the_blocks_where_that_can_be(
    make_mount: MakeMount, scratch: Path, kind: Kind
) -> None:
    size = 16 << 20
    with loop_filesystem(scratch / "filesystem", kind) as path:
        (path / "disk").mkdir()
        (path / "tree").mkdir()
        original = path / "tree" / "large"
        original.write_bytes(os.urandom(size))
        before = state(original)
        mount = make_mount(disk=path / "disk")
        tierfs("adopt", path / "tree", mount.path)
        adopted = blocks(path)
        with (mount.path / "large").open("r+b") as file:
            file.seek(size // 2)
            file.write(b"changed")
        added = blocks(path) - adopted
        assert (added < size // 4) is (kind == "xfs")
        wanted = bytearray(original.read_bytes())
        wanted[size // 2 : size // 2 + 7] = b"changed"
        assert (mount.path / "large").read_bytes() == wanted
        mount.remount()
        assert (mount.path / "large").read_bytes() == wanted
        assert state(original) == before
        assert original.stat().st_nlink == 1
        mount.unmount()
