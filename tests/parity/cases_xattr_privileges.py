"""Extended attributes: who may read and change which namespace; file capabilities."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from tests.parity.actors import ACTORS, OTHER, WHO, Capability, as_actor, with_capabilities
from tests.parity.harness import Place, case
from tests.parity.making import make, owned

NAMESPACES = ["user", "trusted", "security"]
CAPABILITY = "security.capability"


def _file_capability(bit: int, revision: int = 0x02000000, rootid: int | None = None) -> bytes:
    """struct vfs_cap_data: one permitted capability, effective."""
    low, high = (1 << bit) & 0xFFFFFFFF, (1 << bit) >> 32
    value = struct.pack("<5I", revision | 1, low, 0, high, 0)
    return value if rootid is None else value + struct.pack("<I", rootid)


def _all_calls(place: Place, path: Path, namespace: str) -> object:
    calls = (
        lambda: os.getxattr(path, f"{namespace}.old"),
        lambda: sorted(os.listxattr(path)),
        lambda: os.setxattr(path, f"{namespace}.old", b"changed"),
        lambda: os.setxattr(path, f"{namespace}.new", b"value"),
        lambda: os.removexattr(path, f"{namespace}.old"),
        lambda: os.getxattr(path, f"{namespace}.none"),
        lambda: os.removexattr(path, f"{namespace}.none"),
    )
    return [place.attempt(call) for call in calls]


def _prepared(place: Place, kind: str, mode: int) -> Path:
    path = owned(place / "it", kind, mode)
    for namespace in NAMESPACES:
        os.setxattr(path, f"{namespace}.old", b"old")
    return path


@case.each(who=list(WHO), namespace=NAMESPACES, kind=["file", "directory"], mode=[0o666, 0o600])
def who_may(place: Place, who: str, namespace: str, kind: str, mode: int) -> object:
    path = _prepared(place, kind, mode | (0o111 if kind == "directory" else 0))
    return as_actor(place, who, _all_calls, place, path, namespace), place.tree()


@case.each(capability=list(Capability), namespace=NAMESPACES)
def with_a_capability(place: Place, capability: Capability, namespace: str) -> object:
    path = _prepared(place, "file", 0o644)
    done = with_capabilities(place, [capability], _all_calls, place, path, namespace)
    return done, place.tree()


@case.each(namespace=NAMESPACES)
def root_without_administration(place: Place, namespace: str) -> object:
    """Being number 0 is not what counts."""
    path = _prepared(place, "file", 0o644)
    done = with_capabilities(
        place, [Capability.CHOWN], _all_calls, place, path, namespace, actor=ACTORS["root"]
    )
    return done, place.tree()


@case.each(who=list(WHO))
def user_attributes_of_a_sticky_directory(place: Place, who: str) -> object:
    path = owned(place / "it", "directory", 0o1777)
    os.setxattr(path, "user.old", b"old")
    return as_actor(place, who, _all_calls, place, path, "user"), place.tree()


@case.each(who=["root", "owner", "other"])
def trusted_of_a_symlink(place: Place, who: str) -> object:
    link = owned(place / "it", "symlink")
    os.setxattr(link, "trusted.old", b"old", follow_symlinks=False)

    def look() -> object:
        calls = (
            lambda: os.getxattr(link, "trusted.old", follow_symlinks=False),
            lambda: os.listxattr(link, follow_symlinks=False),
            lambda: os.setxattr(link, "user.new", b"new", follow_symlinks=False),
            lambda: os.removexattr(link, "trusted.old", follow_symlinks=False),
        )
        return [place.attempt(call) for call in calls]

    return as_actor(place, who, look)


VALUES = {
    "empty": b"",
    "short": b"x",
    "zeros": bytes(20),
    "revision_2": _file_capability(10),
    "revision_2_cut": _file_capability(10)[:-1],
    "revision_3": _file_capability(10, 0x03000000, 1000),
    "revision_4": _file_capability(10, 0x04000000),
}


@case.each(value=list(VALUES))
def values_of_file_capabilities(place: Place, value: str) -> object:
    path = make(place / "it", mode=0o755)
    done = place.attempt(os.setxattr, path, CAPABILITY, VALUES[value])
    return done, place.attempt(os.getxattr, path, CAPABILITY), os.listxattr(path)


@case.each(
    who=["owner", "other"],
    capabilities=[[], [Capability.SETFCAP], [Capability.SYS_ADMIN]],
)
def who_may_set_file_capabilities(place: Place, who: str, capabilities: list[Capability]) -> object:
    path = owned(place / "it", mode=0o755)
    done = with_capabilities(
        place, capabilities, os.setxattr, path, CAPABILITY, _file_capability(10), actor=ACTORS[who]
    )
    return done, place.tree()


@case
def a_program_gets_its_file_capabilities(place: Place) -> object:
    program = Path(shutil.copy(shutil.which("grep") or "grep", place / "grep"))
    program.chmod(0o755)
    os.setxattr(program, CAPABILITY, _file_capability(Capability.CHOWN))

    def execute() -> object:
        argv: list[str | Path] = [program, "CapEff", "/proc/self/status"]
        return subprocess.run(argv, capture_output=True, check=False).stdout

    before = place.as_user(OTHER.uid, OTHER.gid, OTHER.groups, execute)
    os.removexattr(program, CAPABILITY)
    return before, place.as_user(OTHER.uid, OTHER.gid, OTHER.groups, execute)


@case.each(how=["link", "rename", "chmod"])
def file_capabilities_survive(place: Place, how: str) -> object:
    path = make(place / "it", mode=0o755)
    os.setxattr(path, CAPABILITY, _file_capability(10))
    if how == "link":
        os.link(path, place / "new")
    elif how == "rename":
        path.rename(place / "new")
    else:
        path.chmod(0o700)
    return place.tree()


@case.each(command=[["cp", "-a"], ["cp", "--preserve=xattr"], ["rsync", "-aX"], ["mv"]])
def programs_carry_attributes(place: Place, command: list[str]) -> object:
    path = owned(place / "it", mode=0o640)
    for namespace in NAMESPACES:
        os.setxattr(path, f"{namespace}.label", namespace.encode())
    subprocess.run([*command, path, place / "copy"], check=True)
    return place.tree()
