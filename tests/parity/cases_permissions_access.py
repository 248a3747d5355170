"""Who may open, search, list and change what, by the mode bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.parity.actors import GROUP, OWNER, WHO, Capability, as_actor, with_capabilities
from tests.parity.harness import Place, case
from tests.parity.making import mode_of, opened, owned

FILE_MODES = [0, 0o400, 0o040, 0o004, 0o200, 0o020, 0o002, 0o077, 0o707, 0o770, 0o644]
DIRECTORY_MODES = [0, 0o500, 0o300, 0o711, 0o750, 0o077, 0o707, 0o755, 0o777]


@case.each(who=list(WHO), mode=FILE_MODES)
def open_file(place: Place, who: str, mode: int) -> object:
    path = owned(place / "it", mode=mode)

    def look() -> object:
        return [
            place.attempt(opened, path, flags)
            for flags in (
                os.O_RDONLY,
                os.O_WRONLY,
                os.O_RDWR,
                os.O_WRONLY | os.O_APPEND,
                os.O_RDONLY | os.O_TRUNC,
                os.O_PATH,
                os.O_CREAT | os.O_WRONLY,
            )
        ]

    return as_actor(place, who, look), place.stat("it")


@case.each(who=list(WHO), mode=DIRECTORY_MODES)
def use_directory(place: Place, who: str, mode: int) -> object:
    folder = owned(place / "it", "directory")
    owned(folder / "inside", mode=0o666)
    owned(folder / "victim", mode=0o666)
    folder.chmod(mode)

    def look() -> object:
        return [
            place.attempt(call)
            for call in (
                lambda: sorted(os.listdir(folder)),
                lambda: mode_of(folder / "inside"),
                lambda: opened(folder / "inside", os.O_RDWR),
                lambda: opened(folder / "new", os.O_CREAT | os.O_WRONLY),
                lambda: os.mkdir(folder / "folder"),
                lambda: os.symlink("x", folder / "symlink"),
                lambda: os.unlink(folder / "victim"),
                lambda: os.rename(folder / "inside", folder / "renamed"),
                lambda: os.chdir(folder),
                lambda: os.stat(folder / "none"),
            )
        ]

    return as_actor(place, who, look), place.tree()


@case.each(who=list(WHO))
def search_above(place: Place, who: str) -> object:
    """Every directory on the way must be searchable."""
    middle = owned(place / "middle", "directory")
    inner = owned(middle / "inner", "directory", 0o777)
    owned(inner / "it", mode=0o666)
    middle.chmod(0o750)

    def look() -> object:
        return place.attempt(opened, inner / "it", os.O_RDWR), place.attempt(os.listdir, inner)

    return as_actor(place, who, look)


@case.each(who=list(WHO))
def descriptor_outlives_permission(place: Place, who: str) -> object:
    path = owned(place / "it", mode=0o600)
    with place.opened("it", os.O_RDWR) as fd:
        path.chmod(0)

        def use() -> object:
            return os.pwrite(fd, b"x", 0), os.pread(fd, 4, 0), place.attempt(os.ftruncate, fd, 2)

        return as_actor(place, who, use), place.stat("it")


CHANGES: dict[str, Callable[[Path], object]] = {
    "chmod": lambda path: os.chmod(path, 0o640),
    "chown_self": lambda path: os.chown(path, -1, -1),
    "chown_same": lambda path: os.chown(path, OWNER, GROUP),
    "chown_user": lambda path: os.chown(path, 11004, -1),
    "chown_to_group": lambda path: os.chown(path, -1, GROUP),
    "chown_to_11003": lambda path: os.chown(path, -1, 11003),
    "chown_to_11001": lambda path: os.chown(path, -1, OWNER),
    "utime_now": os.utime,
    "utime_set": lambda path: os.utime(path, ns=(1, 2)),
    "truncate": lambda path: os.truncate(path, 3),
    "setxattr": lambda path: os.setxattr(path, "user.new", b"v"),
    "getxattr": lambda path: os.getxattr(path, "user.label"),
    "listxattr": lambda path: sorted(os.listxattr(path)),
    "removexattr": lambda path: os.removexattr(path, "user.label"),
}


@case.each(who=list(WHO), what=list(CHANGES), mode=[0o666, 0o600])
def change_file(place: Place, who: str, what: str, mode: int) -> object:
    path = owned(place / "it", mode=mode)
    os.setxattr(path, "user.label", b"value")
    return as_actor(place, who, CHANGES[what], path), place.tree()


@case.each(who=list(WHO), what=[what for what in CHANGES if what != "truncate"])
def change_directory(place: Place, who: str, what: str) -> object:
    path = owned(place / "it", "directory", 0o755)
    os.setxattr(path, "user.label", b"value")
    return as_actor(place, who, CHANGES[what], path), place.tree()


CAPABILITIES = list(Capability)


@case.each(capability=CAPABILITIES, what=list(CHANGES))
def capability_to_change(place: Place, capability: Capability, what: str) -> object:
    """One capability and nothing else, on a file that the mode closes."""
    path = owned(place / "it", mode=0o600)
    os.setxattr(path, "user.label", b"value")
    done = with_capabilities(place, [capability], CHANGES[what], path)
    return done, place.tree()


@case.each(capability=CAPABILITIES)
def capability_to_open(place: Place, capability: Capability) -> object:
    path = owned(place / "it", mode=0)
    program = owned(place / "program", mode=0o100)
    folder = owned(place / "folder", "directory", 0)

    def look() -> object:
        return [
            place.attempt(call)
            for call in (
                lambda: opened(path, os.O_RDONLY),
                lambda: opened(path, os.O_WRONLY),
                lambda: opened(path, os.O_RDWR),
                lambda: os.listdir(folder),
                lambda: opened(folder / "new", os.O_CREAT | os.O_WRONLY),
                lambda: [os.access(program, mode, effective_ids=True) for mode in (1, 2, 4)],
            )
        ]

    return with_capabilities(place, [capability], look), place.tree()


@case.each(capability=CAPABILITIES)
def capability_to_make_nodes(place: Place, capability: Capability) -> object:
    place.path.chmod(0o777)

    def look() -> object:
        return [
            place.attempt(os.mknod, place / "char", 0o020644, os.makedev(1, 3)),
            place.attempt(os.mknod, place / "block", 0o060644, os.makedev(7, 0)),
            place.attempt(os.mknod, place / "whiteout", 0o020644, 0),
            place.attempt(os.mknod, place / "fifo", 0o010644),
            place.attempt(os.mknod, place / "file", 0o100644),
        ]

    return with_capabilities(place, [capability], look), place.tree()


@case.each(who=list(WHO))
def o_noatime(place: Place, who: str) -> object:
    path = owned(place / "it", mode=0o666)
    return as_actor(place, who, opened, path, os.O_RDONLY | os.O_NOATIME)
