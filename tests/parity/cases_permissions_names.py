"""Who may make, remove and move names: sticky directories, protected links, powerless root."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.parity.actors import (
    ACTORS,
    GROUP,
    OTHER,
    OWNER,
    WHO,
    Actor,
    Capability,
    as_actor,
    with_capabilities,
)
from tests.parity.harness import Place, case
from tests.parity.making import make, opened, owned

STICKY = 0o1777


def _sticky_place(place: Place, folder_owner: int, file_owner: int) -> None:
    """A sticky directory with a file, a directory and a symbolic link of one owner."""
    folder = make(place / "sticky", "directory")
    for kind in ("file", "directory", "symlink"):
        path = make(folder / kind, kind, 0o666 if kind == "file" else 0o777)
        os.chown(path, file_owner, GROUP, follow_symlinks=False)
    folder.chmod(STICKY)
    os.chown(folder, folder_owner, 0)


Act = Callable[[Place], object]


def _unlink(place: Place) -> None:
    os.unlink(place / "sticky/file")


def _rmdir(place: Place) -> None:
    os.rmdir(place / "sticky/directory")


def _unlink_symlink(place: Place) -> None:
    os.unlink(place / "sticky/symlink")


def _rename_within(place: Place) -> None:
    os.rename(place / "sticky/file", place / "sticky/new")


def _rename_out(place: Place) -> None:
    os.rename(place / "sticky/file", place / "open/new")


def _rename_directory_out(place: Place) -> None:
    os.rename(place / "sticky/directory", place / "open/new")


def _replace(place: Place) -> None:
    os.rename(place / "open/mine", place / "sticky/file")


def _link(place: Place) -> None:
    os.link(place / "sticky/file", place / "open/link")


def _chmod(place: Place) -> None:
    (place / "sticky").chmod(0o777)


STICKY_ACTS: list[Act] = [
    _unlink, _rmdir, _unlink_symlink, _rename_within, _rename_out, _rename_directory_out,
    _replace, _link, _chmod,
]  # fmt: skip


@case.each(act=STICKY_ACTS, who=["root", "owner", "other"], theirs=["nothing", "file", "folder"])
def sticky(place: Place, act: Act, who: str, theirs: str) -> object:
    actor = ACTORS[who].uid
    _sticky_place(
        place,
        folder_owner=actor if theirs == "folder" else 11777,
        file_owner=actor if theirs == "file" else 11778,
    )
    owned(place / "open", "directory", 0o777)
    make(place / "open/mine")
    os.chown(place / "open/mine", actor, actor)
    return as_actor(place, who, act, place), place.tree()


@case.each(act=STICKY_ACTS, capability=[Capability.FOWNER, Capability.DAC_OVERRIDE])
def sticky_with_capability(place: Place, act: Act, capability: Capability) -> object:
    _sticky_place(place, 11777, 11778)
    owned(place / "open", "directory", 0o777)
    make(place / "open/mine")
    return with_capabilities(place, [capability], act, place), place.tree()


@case.each(who=list(WHO), mode=[0o666, 0o644, 0o600, 0o4777, 0o2777, 0o2767])
def link_to_a_file_of_another(place: Place, who: str, mode: int) -> object:
    """Whatever /proc/sys/fs/protected_hardlinks says, both filesystems do it."""
    place.path.chmod(0o777)
    path = owned(place / "it", mode=mode)
    return as_actor(place, who, os.link, path, place / "link"), place.stat("it")


@case.each(who=["root", "owner", "other"], kind=["file", "fifo"])
def create_over_a_file_of_another_in_a_sticky_directory(
    place: Place, who: str, kind: str
) -> object:
    """protected_regular and protected_fifos."""
    owned(place / "it", kind, 0o666)
    place.path.chmod(STICKY)
    flags = os.O_CREAT | os.O_RDWR | os.O_NONBLOCK
    return as_actor(place, who, opened, place / "it", flags)


@case.each(who=["root", "owner", "other"])
def follow_a_symlink_of_another_in_a_sticky_directory(place: Place, who: str) -> object:
    """protected_symlinks."""
    owned(place / "target", mode=0o666)
    owned(place / "it", "symlink")
    place.path.chmod(STICKY)
    return as_actor(place, who, opened, place / "it", os.O_RDONLY)


@case.each(who=list(WHO), kind=["file", "directory"])
def rename_between_directories_of_others(place: Place, who: str, kind: str) -> object:
    """Moving a directory writes its '..', so that its own mode counts."""
    place.path.chmod(0o777)
    for name in ("from", "to"):
        owned(place / name, "directory", 0o777)
    make(place / "from/it", kind)
    (place / "from/it").chmod(0o755)
    return as_actor(place, who, os.rename, place / "from/it", place / "to/it"), place.tree()


@case.each(who=list(WHO))
def rename_within_a_directory_of_others(place: Place, who: str) -> object:
    place.path.chmod(0o777)
    make(place / "it", "directory")
    return as_actor(place, who, os.rename, place / "it", place / "new"), place.tree()


POWERLESS = Actor(0, 0)


@case.each(mode=[0, 0o040, 0o004, 0o600, 0o660, 0o606])
def root_without_capabilities(place: Place, mode: int) -> object:
    """Root with one useless capability is an ordinary user that happens to be number 0."""
    path = owned(place / "it", mode=mode)

    def look() -> object:
        return [
            place.attempt(call)
            for call in (
                lambda: opened(path, os.O_RDONLY),
                lambda: opened(path, os.O_WRONLY),
                lambda: path.chmod(0o777),
                lambda: os.chown(path, 0, 0),
                lambda: os.utime(path, ns=(1, 1)),
                lambda: os.unlink(path),
            )
        ]

    done = with_capabilities(place, [Capability.SYS_RESOURCE], look, actor=POWERLESS)
    return done, place.tree()


@case.each(
    who=["owner", "other"],
    what=[OWNER, GROUP, 11003, 11999],
)
def change_group_to_a_group_of_ones_own(place: Place, who: str, what: int) -> object:
    """The owner may give a file to any of its groups, also supplementary ones."""
    path = make(place / "it")
    os.chown(path, ACTORS[who].uid, 0)
    return as_actor(place, who, os.chown, path, -1, what), place.stat("it")


@case.each(who=["owner", "other"], name=["file", "folder"])
def operations_in_a_closed_directory(place: Place, who: str, name: str) -> object:
    """What exists answers EACCES, not ENOENT or EEXIST, to those who may not search."""
    folder = owned(place / "it", "directory", 0o700)
    owned(folder / "file")
    owned(folder / "folder", "directory")

    def look() -> object:
        path = folder / name
        return [
            place.attempt(call)
            for call in (
                lambda: os.mkdir(path),
                lambda: opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
                lambda: os.symlink("x", path),
                lambda: os.link(path, folder / "link"),
                lambda: os.rename(path, folder / "none/x"),
                lambda: os.rmdir(path),
                lambda: os.stat(path).st_size and None,
            )
        ]

    return as_actor(place, who, look)


@case.each(order=["existing", "missing"])
def errors_in_a_directory_without_write(place: Place, order: str) -> object:
    """Which error comes first for a user who may search and not write."""
    folder = owned(place / "it", "directory", 0o755)
    owned(folder / "existing")
    path = folder / order

    def look() -> object:
        return [
            place.attempt(call)
            for call in (
                lambda: os.mkdir(path),
                lambda: os.mkfifo(path),
                lambda: os.symlink("x", path),
                lambda: os.link(path, folder / "link"),
                lambda: os.unlink(path),
                lambda: os.rmdir(path),
                lambda: os.rename(path, folder / "new"),
                lambda: opened(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
                lambda: opened(path, os.O_CREAT | os.O_WRONLY),
            )
        ]

    return place.as_user(OTHER.uid, OTHER.gid, OTHER.groups, look)
