"""A daemon dies after the commit of a change, before its reply: it is made once, and succeeds."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import running, wait_until
from tierfs.common.errors import NotMounted
from tierfs.daemon.control_client import ask
from tierfs.daemon.supervisor import QUICK_S

pytestmark = [
    pytest.mark.long,
    pytest.mark.once,  # only the router can be taken over
    pytest.mark.skipif(os.geteuid() != 0, reason="a whiteout is a device"),
]

DYING = """
import os, signal, struct, sys, time
from tierfs.daemon.operations import Operations
from tierfs.daemon.resent import SupervisedOperations
from tierfs.fs.data import Data
from tierfs.fs.namespace import Namespace
trigger = sys.argv[1]
def dying(function):
    def call(*words, **named):
        result = function(*words, **named)
        try:
            os.unlink(trigger)
        except FileNotFoundError:
            return result
        os.kill(os.getpid(), signal.SIGKILL)
    return call
for where, names in (
    (Namespace, ("make", "make_nameless", "link", "unlink", "rmdir", "rename")),
    (SupervisedOperations, ("rename2", "setxattr", "removexattr")),
    (Operations, ("setattr",)),
    (Data, ("write",)),
):
    for name in names:
        setattr(where, name, dying(getattr(where, name)))
from tierfs.daemon.native import FastPath
start = FastPath.start
def start_late(self, device, operations, **named):
    # Have the kernel send again, and read what it sends only when the file is gone.
    hold = trigger + ".hold"
    if os.path.exists(hold):
        os.write(device, struct.pack("=IiQ", 16, 7, 0))
        os.rename(hold, trigger + ".held")
        while os.path.exists(trigger + ".held"):
            time.sleep(0.01)
    return start(self, device, operations, **named)
FastPath.start = start_late
from tierfs.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
"""A daemon that dies after the next change, once the file of the first argument is there."""

Change = Callable[[Path], object]


@pytest.fixture
def dying(make_mount: MakeMount, tmp_path: Path) -> tuple[Mount, Path]:
    mount = make_mount.formatted()
    mount.mount("supervise")
    trigger = tmp_path / "die"
    with contextlib.suppress(NotMounted):  # the daemon that is asked is killed
        ask(mount.path, "upgrade", command=[sys.executable, "-c", DYING, os.fspath(trigger)])
    os.statvfs(mount.path)
    status = mount.status()
    assert status["supervisor"]["last_reason"] == "upgrade"
    mount.pid = status["pid"]
    return mount, trigger


def rename2(old: Path, new: Path, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), f"{old} and {new}")


def make_file(root: Path) -> None:
    os.close(os.open(root / "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def append(root: Path) -> None:
    with (root / "a").open("ab", buffering=0) as file:
        assert file.write(b"more") == 4


def link_nameless(root: Path) -> None:
    nameless = os.open(root, os.O_TMPFILE | os.O_WRONLY)
    os.write(nameless, b"content")
    os.link(f"/proc/self/fd/{nameless}", root / "new", src_dir_fd=nameless)
    os.close(nameless)


def seek_over_a_mapping(root: Path) -> None:
    """LSEEK has the kernel write the page, which is the change: both wait for the next daemon."""
    with (
        (root / "sparse").open("r+b", buffering=0) as file,
        mmap.mmap(file.fileno(), 0) as mapped,
    ):
        mapped[1 << 19] = 1
        assert os.lseek(file.fileno(), 1 << 16, os.SEEK_DATA) == 1 << 19


CHANGES: dict[str, Change] = {
    "open": make_file,
    "mkdir": lambda root: (root / "new").mkdir(),
    "mkfifo": lambda root: os.mkfifo(root / "new"),
    "symlink": lambda root: (root / "new").symlink_to("target"),
    "link": lambda root: os.link(root / "a", root / "new"),
    "tmpfile": link_nameless,
    "unlink": lambda root: (root / "a").unlink(),
    "rmdir": lambda root: (root / "empty").rmdir(),
    "rename": lambda root: (root / "a").rename(root / "new"),
    "replace": lambda root: (root / "a").rename(root / "b"),
    "rename directory": lambda root: (root / "full").rename(root / "new"),
    "exchange": lambda root: rename2(root / "a", root / "b", 2),
    "whiteout": lambda root: rename2(root / "a", root / "new", 4),
    "setxattr create": lambda root: os.setxattr(root / "a", "user.x", b"1", os.XATTR_CREATE),
    "setxattr": lambda root: os.setxattr(root / "a", "user.x", b"1"),
    "removexattr": lambda root: os.removexattr(root / "b", "user.y"),
    "append": append,
    "mapping": seek_over_a_mapping,
    "truncate": lambda root: os.truncate(root / "a", 2),
    "chmod": lambda root: (root / "a").chmod(0o600),
}


def fill(root: Path) -> None:
    (root / "a").write_bytes(b"first")
    (root / "b").write_bytes(b"second")
    os.setxattr(root / "b", "user.y", b"1")
    (root / "sparse").touch()
    os.truncate(root / "sparse", 1 << 20)
    (root / "empty").mkdir()
    (root / "full" / "inner").mkdir(parents=True)


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """What a tree is, but for its times and numbers."""
    shown: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        content: object = path.read_bytes() if stat.S_ISREG(facts.st_mode) else None
        content = path.readlink() if path.is_symlink() else content
        xattrs = [] if path.is_symlink() else sorted(os.listxattr(path))
        users = [name for name in xattrs if name.startswith("user.")]
        links = facts.st_nlink if stat.S_ISREG(facts.st_mode) else 0
        shown[os.fspath(path.relative_to(root))] = (facts.st_mode, links, content, users)
    return shown


@pytest.mark.timeout(300)
def test_each_kind_of_change(dying: tuple[Mount, Path], tmp_path: Path) -> None:
    mount, trigger = dying
    for name, change in CHANGES.items():
        directory = name.replace(" ", "-")
        here, native = mount.path / directory, tmp_path / "native" / directory
        for root in (here, native):
            root.mkdir(parents=True)
            fill(root)
        time.sleep(1.1 * QUICK_S)  # else the supervisor gives up
        trigger.touch()
        change(here)
        assert not trigger.exists(), name
        assert not running(mount.pid), name
        mount.pid = mount.status()["pid"]
        change(native)
        assert picture(here) == picture(native), name


MADE_BY_KILLED: dict[str, tuple[str, Change, Callable[[Path], object]]] = {
    "open": ("new", make_file, lambda root: (root / "new").exists()),
    "mkdir": ("new", CHANGES["mkdir"], lambda root: (root / "new").is_dir()),
    "unlink": ("a", CHANGES["unlink"], lambda root: (root / "a").exists()),
    "rename": ("new", CHANGES["rename"], lambda root: [(root / x).exists() for x in ("a", "new")]),
    "chmod": ("a", CHANGES["chmod"], lambda root: (root / "a").stat().st_mode),
}
"""Changes, the name that the kernel knows before, or knows to be free, and what is seen of them."""


def agree(seen: Callable[[Path], object], one: Path, other: Path) -> bool:
    return seen(one) == seen(other)


@pytest.mark.timeout(300)
def test_a_program_that_is_killed_meanwhile_leaves_nothing_stale(
    dying: tuple[Mount, Path], tmp_path: Path
) -> None:
    """Killed after the kernel was asked to send again, and before its request was read again."""
    mount, trigger = dying
    hold, held = (trigger.with_name(f"{trigger.name}.{end}") for end in ("hold", "held"))
    for name, (known, change, seen) in MADE_BY_KILLED.items():
        here, native = mount.path / name, tmp_path / "native" / name
        for root in (here, native):
            root.mkdir(parents=True)
            fill(root)
            os.path.lexists(root / known)
            (root / "a").stat()
        time.sleep(1.1 * QUICK_S)  # else the supervisor gives up
        hold.touch()
        trigger.touch()
        program = os.fork()
        if not program:
            change(here)
            os._exit(0)
        wait_until(held.exists, what="the next daemon waits", timeout=60)
        os.kill(program, signal.SIGKILL)
        assert os.waitpid(program, 0) == (program, signal.SIGKILL), name
        held.unlink()
        mount.pid = mount.status()["pid"]
        change(native)
        wait_until(partial(agree, seen, here, native), what=f"the kernel knows of {name}")
        assert picture(here) == picture(native), name


def test_a_failure_is_still_one(dying: tuple[Mount, Path]) -> None:
    """Changes that fail are not taken for made, in a daemon that has taken over."""
    mount, _ = dying
    fill(mount.path)
    failures: list[tuple[int, Change]] = [
        (errno.EEXIST, lambda root: (root / "empty").mkdir()),
        (errno.ENOENT, lambda root: (root / "missing").unlink()),
        (errno.EEXIST, lambda root: os.setxattr(root / "b", "user.y", b"", os.XATTR_CREATE)),
        (errno.ENODATA, lambda root: os.removexattr(root / "a", "user.y")),
        (errno.ENOENT, lambda root: rename2(root / "a", root / "missing", 2)),
    ]
    for number, change in failures:
        with pytest.raises(OSError, match="mnt") as refused:
            change(mount.path)
        assert refused.value.errno == number
