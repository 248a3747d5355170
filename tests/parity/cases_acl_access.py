"""Access control lists decide who may do what, and default lists what new files get."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.parity.acls import ACCESS, DEFAULT, encoded, lists, set_list
from tests.parity.actors import ACTORS, WHO, Capability, as_actor, with_capabilities
from tests.parity.harness import Place, case
from tests.parity.making import make, opened, owned

GRANTS = {
    "user": "u::rw-,u:11004:rw-,g::---,m::rwx,o::---",
    "user masked": "u::rw-,u:11004:rwx,g::---,m::r--,o::---",
    "user denied": "u::rw-,u:11004:---,g::rwx,m::rwx,o::rwx",
    "group": "u::rw-,g::---,g:11999:rw-,m::rwx,o::---",
    "group masked": "u::rw-,g::rwx,g:11999:rwx,m::-w-,o::r--",
    "group denied": "u::rw-,g::---,g:11999:---,m::rwx,o::rwx",
    "two groups": "u::---,g::r--,g:11003:-w-,g:11999:--x,m::rwx,o::rwx",
    "owner denied": "u::---,u:11001:rwx,g::rwx,m::rwx,o::rwx",
    "owning group by name": "u::r--,g::---,g:12000:rw-,m::rwx,o::---",
    "empty mask": "u::rwx,u:11003:rwx,g::rwx,m::---,o::rwx",
}


def _look(place: Place, path: Path) -> object:
    calls: tuple[Callable[[], object], ...] = (
        lambda: opened(path, os.O_RDONLY),
        lambda: opened(path, os.O_WRONLY),
        lambda: opened(path, os.O_RDWR),
        lambda: [os.access(path, mode) for mode in (4, 2, 1)],
        lambda: os.utime(path),
        lambda: os.getxattr(path, ACCESS),
    )
    return [place.attempt(call) for call in calls]


@case.each(who=list(WHO), grant=list(GRANTS))
def file(place: Place, who: str, grant: str) -> object:
    path = owned(place / "it", mode=0o600)
    set_list(path, GRANTS[grant])
    return as_actor(place, who, _look, place, path)


@case.each(who=list(WHO), grant=list(GRANTS))
def directory(place: Place, who: str, grant: str) -> object:
    path = owned(place / "it", "directory", 0o700)
    owned(path / "inside", mode=0o644)
    set_list(path, GRANTS[grant].replace("rw-", "rwx"))

    def look() -> object:
        calls: tuple[Callable[[], object], ...] = (
            lambda: sorted(os.listdir(path)),
            lambda: opened(path / "inside", os.O_RDONLY),
            lambda: opened(path / "new", os.O_CREAT | os.O_WRONLY),
            lambda: os.unlink(path / "inside"),
            lambda: os.chdir(path),
        )
        return [place.attempt(call) for call in calls]

    return as_actor(place, who, look)


@case.each(who=list(WHO))
def program(place: Place, who: str) -> object:
    path = owned(place / "it", mode=0o700)
    set_list(path, "u::rw-,u:11004:--x,g::r--,g:11003:--x,m::rwx,o::r--")
    return as_actor(place, who, os.access, path, os.X_OK)


@case.each(who=list(WHO), mode=[0o600, 0o660, 0o606, 0o777])
def chmod_masks_what_is_granted(place: Place, who: str, mode: int) -> object:
    path = owned(place / "it")
    set_list(path, GRANTS["user"])
    path.chmod(mode)
    return as_actor(place, who, _look, place, path)


@case.each(who=list(WHO), name=[ACCESS, DEFAULT])
def who_may_set(place: Place, who: str, name: str) -> object:
    path = owned(place / "it", "directory", 0o777)
    value = encoded(GRANTS["group"])
    set_done = as_actor(place, who, os.setxattr, path, name, value)
    shown = lists(path)
    set_list(path, GRANTS["user"], name)
    return set_done, shown, as_actor(place, who, os.removexattr, path, name), lists(path)


@case.each(capability=list(Capability), name=[ACCESS, DEFAULT])
def capability_to_set(place: Place, capability: Capability, name: str) -> object:
    path = owned(place / "it", "directory", 0o777)
    value = encoded(GRANTS["group"])
    return with_capabilities(place, [capability], os.setxattr, path, name, value), lists(path)


@case.each(
    who=["root", "owner", "owner_in_group"],
    kind=["file", "directory"],
    mode=[0o2755, 0o2644, 0o6755, 0o4755],
    grant=["user", "minimal"],
)
def set_group_id_is_for_members(place: Place, who: str, kind: str, mode: int, grant: str) -> object:
    """Who is not in the group loses set-group-ID by setting a list (posix_acl_update_mode)."""
    path = owned(place / "it", kind, mode)
    text = GRANTS.get(grant, "u::rwx,g::r-x,o::r-x")
    return as_actor(place, who, os.setxattr, path, ACCESS, encoded(text)), lists(path)


@case.each(who=["root", "owner"], capability=[Capability.FSETID, Capability.FOWNER])
def set_group_id_with_capability(place: Place, who: str, capability: Capability) -> object:
    path = owned(place / "it", mode=0o2755)
    value = encoded(GRANTS["user"])
    actor = ACTORS[who]
    done = with_capabilities(place, [capability], os.setxattr, path, ACCESS, value, actor=actor)
    return done, lists(path)


DEFAULTS = {
    "minimal": "u::rwx,g::r-x,o::---",
    "open": "u::rwx,g::rwx,o::rwx",
    "closed": "u::---,g::---,o::---",
    "user": "u::rwx,u:11004:rwx,g::r-x,m::rwx,o::---",
    "narrow mask": "u::rw-,u:11004:rwx,g::rwx,g:11999:rw-,m::r--,o::--x",
    "empty mask": "u::rwx,u:11004:rwx,g::rwx,m::---,o::rwx",
}


def _create(place: Place, kind: str, mode: int) -> object:
    path = place / "folder/new"
    if kind == "file":
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))
    elif kind == "directory":
        path.mkdir(mode)
    elif kind == "fifo":
        os.mkfifo(path, mode)
    elif kind == "node":
        os.mknod(path, 0o100000 | mode)
    else:
        path.symlink_to("..")
    return "made"


@case.each(
    default=list(DEFAULTS),
    kind=["file", "directory", "fifo", "node", "symlink"],
    mode=[0o777, 0o640, 0],
)
def inherited(place: Place, default: str, kind: str, mode: int) -> object:
    """With an umask of 0: see `inherited_under_umask`."""
    os.umask(0)
    folder = make(place / "folder", "directory")
    set_list(folder, DEFAULTS[default], DEFAULT)
    done = place.attempt(_create, place, kind, mode)
    return done, lists(folder / "new") if kind != "symlink" else None, place.tree()


@case.each(default=list(DEFAULTS), kind=["file", "directory"])
def inherited_under_an_umask_that_takes_nothing(place: Place, default: str, kind: str) -> object:
    """What the umask would take, the creating call does not ask for."""
    os.umask(0o022)
    folder = make(place / "folder", "directory")
    set_list(folder, DEFAULTS[default], DEFAULT)
    return _create(place, kind, 0o755), lists(folder / "new")


@case.each(kind=["file", "directory", "fifo"], umask=[0o022, 0o077])
def inherited_under_umask(place: Place, kind: str, umask: int) -> object:
    """A default list takes the place of the umask."""
    os.umask(umask)
    folder = make(place / "folder", "directory")
    set_list(folder, DEFAULTS["user"], DEFAULT)
    return _create(place, kind, 0o777), lists(folder / "new")


@case.each(who=["root", "owner", "other"], mode=[0o2755, 0o6777])
def inherited_beside_set_group_id(place: Place, who: str, mode: int) -> object:
    os.umask(0)
    folder = owned(place / "folder", "directory", 0o777)
    set_list(folder, "u::rwx,u:11004:rwx,g::rwx,m::rwx,o::rwx", DEFAULT)
    folder.chmod(0o2777)
    done = [as_actor(place, who, _create, place, kind, mode) for kind in ("file",)]
    return done, place.stat("folder/new"), lists(folder / "new")


@case
def inherited_all_the_way_down(place: Place) -> object:
    os.umask(0)
    folder = make(place / "folder", "directory")
    set_list(folder, DEFAULTS["narrow mask"], DEFAULT)
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/b/c/file").touch()
    return [lists(folder / name) for name in ("a", "a/b", "a/b/c", "a/b/c/file")]


@case
def not_inherited_by_what_is_moved_or_linked(place: Place) -> object:
    folder = make(place / "folder", "directory")
    set_list(folder, DEFAULTS["user"], DEFAULT)
    for name in ("moved", "linked"):
        make(place / name)
    (place / "moved").rename(folder / "moved")
    os.link(place / "linked", folder / "linked")
    return lists(folder / "moved"), lists(folder / "linked")


@case
def an_open_file_is_not_made_anew(place: Place) -> object:
    """O_CREAT of what exists inherits nothing."""
    folder = make(place / "folder", "directory")
    make(folder / "new", mode=0o640)
    set_list(folder, DEFAULTS["user"], DEFAULT)
    return opened(folder / "new", os.O_CREAT | os.O_WRONLY), lists(folder / "new")
