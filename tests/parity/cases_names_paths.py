"""Paths and names: lengths, bytes, depth, dots and slashes."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.parity.harness import Place, case
from tests.parity.making import MAKERS

PATH_MAX = 4096
AT_EACH = "/" + "d" * 254

CALLS: dict[str, Callable[[bytes], object]] = {
    **MAKERS,
    "stat": lambda path: os.stat(path).st_size,
    "lstat": lambda path: os.lstat(path).st_size,
    "open": os.listdir,
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "readlink": os.readlink,
    "chmod": lambda path: os.chmod(path, 0o600),
    "truncate": lambda path: os.truncate(path, 1),
    "rename": lambda path: os.rename(path, path + b"2"),
    "getxattr": lambda path: os.getxattr(path, "user.none"),
}

NAMES = [
    b"\xff\xfe not utf-8 \x80",
    "Z\u00fcrich \u65e5\u672c".encode(),
    b"line\nbreak\ttab\rreturn",
    b" leading and trailing ",
    b"-rf",
    b"*?[]{}$`\"'\\|;&<>()!#~^%",
    bytes(range(1, 47)) + bytes(range(48, 128)),
    bytes(range(128, 256)),
    b"...",
    b".hidden",
    b"a" * 254 + b"\xff",
    b"CON.txt.",
]


@case.each(call=CALLS, length=[1, 254, 255, 256, 1000, 4000])
def name_of_length(place: Place, call: str, length: int) -> object:
    path = os.fsencode(place.path) + b"/" + b"n" * length
    return place.attempt(CALLS[call], path), os.listdir(place.path)


@case.each(call=["link", "rename", "symlink"], length=[255, 256])
def new_name_of_length(place: Place, call: str, length: int) -> object:
    place.file("file")
    os.chdir(place.path)
    calls: dict[str, Callable[[str, str], None]]
    calls = {"link": os.link, "rename": os.rename, "symlink": os.symlink}
    return place.attempt(calls[call], "file", "n" * length), place.tree()


@case.each(length=[63, 64, 127, 128])
def name_of_wide_characters(place: Place, length: int) -> object:
    """A name's length counts bytes: each of these characters has four."""
    return place.attempt(os.mkdir, place / ("\U0001f600" * length)), os.listdir(place.path)


@case.each(number=range(len(NAMES)), call=MAKERS)
def name_of_bytes(place: Place, number: int, call: str) -> object:
    path = os.path.join(os.fsencode(place.path), NAMES[number])
    MAKERS[call](path)
    listed = os.listdir(os.fsencode(place.path))
    os.rename(path, path[:-1] + b"_")
    return listed, os.listdir(os.fsencode(place.path)), place.tree()


@case.each(forms=[("e\u0301", "\u00e9"), ("a", "A"), ("stra\u00dfe", "strasse"), ("x", "x ")])
def names_that_look_alike(place: Place, forms: tuple[str, str]) -> object:
    for form in forms:
        place.file(form, form.encode())
    return sorted(os.listdir(place.path)), place.tree()


@case.each(call=CALLS, length=[4094, 4095, 4096, 4097, 5000])
def path_of_length(place: Place, call: str, length: int) -> object:
    """A relative path of that many bytes, by repeated slashes and dots, to a file that exists."""
    place.file("file")
    os.chdir(place.path)
    path = b"./" * ((length - 4) // 2) + b"/" * (length % 2) + b"file"
    return len(path), place.attempt(CALLS[call], path), os.listdir(place.path)


@case.each(levels=[15, 16, 17, 20])
def deep_tree_beyond_path_max(place: Place, levels: int) -> object:
    """A tree that is reached in steps, though its path as one is too long."""
    name = "d" * 254
    os.chdir(place.path)
    for _ in range(levels):
        os.mkdir(name)
        os.chdir(name)
    with open("file", "w", encoding="ascii") as file:
        file.write("deep")
    whole = os.fsencode(place.path) + AT_EACH.encode() * levels + b"/file"
    return place.attempt(os.stat, whole[: PATH_MAX + 10]) == "ENAMETOOLONG", (
        place.attempt(os.getcwd) == "ENAMETOOLONG" or len(os.getcwd()) > PATH_MAX,
        os.listdir("."),
        os.stat("file").st_size,
        place.attempt(os.rename, "file", "../file"),
        sorted(os.listdir("..")),
    )


@case.each(depth=[50, 400])
def deep_tree_of_short_names(place: Place, depth: int) -> object:
    os.makedirs(place / "/".join("d" * depth))
    path = place / "/".join("d" * depth)
    (path / "file").write_bytes(b"deep")
    return (place / "/".join("d" * depth) / "file").read_bytes(), os.stat(path / "../..").st_nlink


PATHS = [
    "d/f", "d//f", "d/./f", "./d/f", "d/../d/f", "d/f/", "d/f/.", "d/f/..", "d/", "d/.", "d/..",
    "l/f", "l/../f", "l", "l/", "d/f/x", "no/../d/f", "", "/", "d/up", "d/up/f", "d/up/d/up/d/f",
    "lf", "lf/", "lf/..", "dangling", "dangling/", "dangling/x",
]  # fmt: skip


@case.each(path=PATHS)
def resolve(place: Place, path: str) -> object:
    place.directory("d")
    place.file("d/f", b"below")
    place.file("f", b"top level")
    place.symlink("l", "d")
    place.symlink("lf", "d/f")
    place.symlink("dangling", "no")
    place.symlink("d/up", "..")
    os.chdir(place.path)
    relative = place.attempt(lambda: os.stat(path).st_size if path != "/" else 0)
    kind = place.attempt(lambda: oct(os.lstat(path).st_mode) if path != "/" else "")
    opened = place.attempt(lambda: os.close(os.open(path or "", os.O_RDONLY)))
    return (relative if isinstance(relative, str) or relative < 100 else "directory", kind, opened)


@case.each(mode=[0o000, 0o400, 0o100, 0o500, 0o700], user=[0, 1000, 1001])
def search_permission(place: Place, mode: int, user: int) -> object:
    above = place.directory("d")
    place.file("d/f", b"below")
    place.directory("d/e")
    os.chown(above, 1000, 1000)
    above.chmod(mode)
    return [
        place.as_user(user, user, [], function, above / name)
        for name in ("f", "e/..", "no", "f/x")
        for function in (_size, os.readlink)
    ] + [place.as_user(user, user, [], _sorted_names, above)]


def _size(path: os.PathLike[str]) -> int | str:
    facts = os.stat(path)
    return facts.st_size if facts.st_mode & 0o100000 else "directory"


def _sorted_names(path: os.PathLike[str]) -> list[str]:
    return sorted(os.listdir(path))
