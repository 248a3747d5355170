"""Set-user-ID and set-group-ID: who loses them when, and what directories pass on."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.parity.actors import ACTORS, GROUP, OWNER, WHO, Capability, as_actor, with_capabilities
from tests.parity.harness import Place, case
from tests.parity.making import make, owned

MODES = [0o4777, 0o2777, 0o6777, 0o2767, 0o6666]


def _with(path: Path, flags: int, use: Callable[[int], object]) -> object:
    fd = os.open(path, flags)
    try:
        return use(fd)
    finally:
        os.close(fd)


def _write(path: Path) -> object:
    return _with(path, os.O_WRONLY, lambda fd: os.write(fd, b"new"))


def _write_nothing(path: Path) -> object:
    return _with(path, os.O_WRONLY, lambda fd: os.write(fd, b""))


def _append(path: Path) -> object:
    return _with(path, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"new"))


def _pwritev(path: Path) -> object:
    return _with(path, os.O_RDWR, lambda fd: os.pwritev(fd, [b"a", b"b"], 5))


def _write_direct(path: Path) -> object:
    return _with(path, os.O_WRONLY | os.O_SYNC, lambda fd: os.write(fd, b"new"))


def _truncate(path: Path) -> None:
    os.truncate(path, 3)


def _truncate_to_the_same(path: Path) -> None:
    os.truncate(path, path.stat().st_size)


def _extend(path: Path) -> None:
    os.truncate(path, 100_000)


def _ftruncate(path: Path) -> object:
    return _with(path, os.O_WRONLY, lambda fd: os.ftruncate(fd, 3))


def _open_truncating(path: Path) -> object:
    return _with(path, os.O_WRONLY | os.O_TRUNC, lambda _fd: "opened")


def _open_truncating_and_write(path: Path) -> object:
    return _with(path, os.O_WRONLY | os.O_TRUNC, lambda fd: os.write(fd, b"new"))


def _only_open(path: Path) -> object:
    return _with(path, os.O_WRONLY, lambda _fd: "opened")


def _copy_into(path: Path) -> object:
    def copy(fd: int) -> object:
        source = os.open(path.parent / "source", os.O_RDONLY)
        try:
            return os.copy_file_range(source, fd, 5)
        finally:
            os.close(source)

    return _with(path, os.O_WRONLY, copy)


def _send_into(path: Path) -> object:
    def send(fd: int) -> object:
        source = os.open(path.parent / "source", os.O_RDONLY)
        try:
            return os.sendfile(fd, source, 0, 5)
        finally:
            os.close(source)

    return _with(path, os.O_WRONLY, send)


WRITES: list[Callable[[Path], object]] = [
    _write, _write_nothing, _append, _pwritev, _write_direct, _truncate, _truncate_to_the_same,
    _extend, _ftruncate, _open_truncating, _open_truncating_and_write, _only_open, _copy_into,
    _send_into,
]  # fmt: skip


@case.each(write=WRITES, who=["root", "owner", "owner_in_group", "other"], mode=MODES)
def set_id_on_write(place: Place, write: Callable[[Path], object], who: str, mode: int) -> object:
    make(place / "source")
    path = owned(place / "it", mode=mode)
    return as_actor(place, who, write, path), place.stat("it")


@case.each(
    write=[_write, _truncate, _open_truncating],
    capability=[Capability.FSETID, Capability.FOWNER, Capability.DAC_OVERRIDE],
    who=["root", "other"],
)
def set_id_on_write_with_capability(
    place: Place, write: Callable[[Path], object], capability: Capability, who: str
) -> object:
    path = owned(place / "it", mode=0o6777)
    done = with_capabilities(place, [capability], write, path, actor=ACTORS[who])
    return done, place.stat("it")


@case.each(who=["owner", "owner_in_group"], mode=MODES, gid=[-1, OWNER])
def set_id_on_chown(place: Place, who: str, mode: int, gid: int) -> object:
    path = owned(place / "it", mode=mode)
    return as_actor(place, who, os.chown, path, -1, gid), place.stat("it")


@case.each(
    capability=[Capability.CHOWN, Capability.FSETID, Capability.FOWNER], mode=[0o6777, 0o2767]
)
def set_id_on_chown_with_capability(place: Place, capability: Capability, mode: int) -> object:
    path = owned(place / "it", mode=mode)
    done = with_capabilities(
        place, [capability, Capability.CHOWN], os.chown, path, 5, 6, actor=ACTORS["owner"]
    )
    return done, place.stat("it")


@case.each(who=list(WHO), mode=[0o6755, 0o2755, 0o2644, 0o4755, 0o1755], kind=["file", "directory"])
def set_id_by_chmod(place: Place, who: str, mode: int, kind: str) -> object:
    """Set-group-ID is for those who are in the group."""
    path = owned(place / "it", kind)
    return as_actor(place, who, os.chmod, path, mode), place.stat("it")


@case.each(capability=[Capability.FSETID, Capability.FOWNER])
def set_group_id_by_chmod_with_capability(place: Place, capability: Capability) -> object:
    path = owned(place / "it")
    done = with_capabilities(place, [capability], os.chmod, path, 0o2755, actor=ACTORS["owner"])
    return done, place.stat("it")


@case.each(who=["root", "owner", "member", "other"], kind=["file", "directory", "fifo", "symlink"])
def inherited_group(place: Place, who: str, kind: str) -> object:
    folder = owned(place / "folder", "directory", 0o2777)

    def create() -> object:
        if kind == "file":
            os.close(os.open(folder / "new", os.O_CREAT | os.O_WRONLY, 0o644))
        elif kind == "directory":
            os.mkdir(folder / "new")
        elif kind == "fifo":
            os.mkfifo(folder / "new")
        else:
            os.symlink("x", folder / "new")
        return "made"

    return as_actor(place, who, create), place.stat("folder", "folder/new")


@case.each(
    who=["root", "owner", "member", "other"],
    mode=[0o2755, 0o2644, 0o6777, 0o4755],
    folder_mode=[0o777, 0o2777],
)
def set_id_at_creation(place: Place, who: str, mode: int, folder_mode: int) -> object:
    """A file made with set-group-ID in a directory whose group the maker is not in."""
    os.umask(0)
    folder = owned(place / "folder", "directory", folder_mode)

    def create() -> object:
        os.close(os.open(folder / "new", os.O_CREAT | os.O_WRONLY, mode))
        os.mknod(folder / "node", 0o100000 | mode)
        os.mkdir(folder / "sub", mode)
        return "made"

    names = ("folder/new", "folder/node", "folder/sub")
    return as_actor(place, who, create), place.stat(*names)


@case.each(who=["owner", "other"])
def moved_into_a_set_group_id_directory(place: Place, who: str) -> object:
    """Only what is made there inherits."""
    place.path.chmod(0o777)
    owned(place / "folder", "directory", 0o2777)
    make(place / "it")
    os.chown(place / "it", ACTORS[who].uid, ACTORS[who].gid)
    done = as_actor(place, who, os.rename, place / "it", place / "folder/it")
    return done, place.stat("folder/it")


@case.each(umask=[0, 0o022, 0o077, 0o777], who=["root", "other"])
def umask(place: Place, umask: int, who: str) -> object:
    place.path.chmod(0o777)

    def create() -> object:
        os.umask(umask)
        os.close(os.open(place / "file", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(place / "folder", 0o777)
        os.mkfifo(place / "fifo", 0o666)
        os.symlink("x", place / "symlink")
        return "made"

    return as_actor(place, who, create), place.stat("file", "folder", "fifo", "symlink")


@case.each(mode=[0o755, 0o4755, 0o2755, 0o6755, 0o4711, 0o700], who=["owner", "member", "other"])
def run_a_program(place: Place, mode: int, who: str) -> object:
    """The kernel gives the program the owner and the group of its file."""
    program = shutil.copy(shutil.which("id") or "id", place / "id")
    os.chown(program, OWNER, GROUP)
    os.chmod(program, mode)

    def execute() -> object:
        return [
            subprocess.run([program, option], capture_output=True, check=False).stdout
            for option in ("-u", "-g", "-ru")
        ]

    return as_actor(place, who, execute)


@case.each(who=["owner", "other"])
def run_after_a_write_took_set_id(place: Place, who: str) -> object:
    """The kernel must not go on with the mode that it remembers."""
    program = Path(shutil.copy(shutil.which("id") or "id", place / "id"))
    os.chown(program, OWNER, GROUP)
    program.chmod(0o6777)

    def execute() -> object:
        with program.open("ab") as file:
            file.write(b"\0")
        return subprocess.run([program, "-u"], capture_output=True, check=False).stdout

    return as_actor(place, who, execute), as_actor(place, "member", execute), place.stat("id")


@case.each(who=["root", "owner", "other"])
def write_drops_file_capabilities(place: Place, who: str) -> object:
    path = owned(place / "it", mode=0o777)
    os.setxattr(path, "security.capability", b"\x01\x00\x00\x02\x01" + bytes(15))
    return as_actor(place, who, _write, path), place.tree()


@case.each(who=["root", "owner", "other"])
def truncate_drops_file_capabilities(place: Place, who: str) -> object:
    path = owned(place / "it", mode=0o777)
    os.setxattr(path, "security.capability", b"\x01\x00\x00\x02\x01" + bytes(15))
    return as_actor(place, who, _truncate, path), place.tree()


@case
def map_and_store(place: Place) -> object:
    """A store through a mapping is no write(2): set-id stays, on both."""
    path = owned(place / "it", mode=0o6777)

    def store() -> object:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[0:1] = b"X"
            view.flush()
        return "stored"

    return as_actor(place, "other", store), place.stat("it")
