"""setfacl, getfacl, and the programs that carry lists along."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.parity.acls import DEFAULT, lists, set_list
from tests.parity.harness import Place, case
from tests.parity.making import make, owned

FULL = "u::rwx,u:11003:rwx,u:11004:---,g::r-x,g:11999:r--,m::rwx,o::---"


def _run(place: Place, *argv: str | Path) -> tuple[int, str, str]:
    """Exit status and output, without the place's path."""
    done = subprocess.run(
        argv, cwd=place.path, capture_output=True, text=True, check=False, timeout=20
    )
    return done.returncode, done.stdout, done.stderr


def _prepared(place: Place) -> None:
    folder = owned(place / "it", "directory", 0o2750)
    for name in ("a", "b"):
        owned(folder / name, mode=0o640)
    owned(folder / "sub", "directory", 0o700)
    owned(folder / "link", "symlink")
    set_list(folder / "a", FULL)
    set_list(folder, FULL)
    set_list(folder, FULL, DEFAULT)


@case.each(
    options=[
        ["-m", "u:11004:r"],
        ["-m", "u:11004:rwx,g:11999:rx,o::r"],
        ["-m", "m::r"],
        ["-n", "-m", "u:11004:rwx"],
        ["-x", "u:11003"],
        ["-x", "u:11777"],
        ["-b"],
        ["-k"],
        ["-d", "-m", "u:11004:rwx"],
        ["-m", "d:g:11999:rwx"],
        ["--set", "u::rw,g::r,o::-"],
        ["--set", "u::rw,g::r"],
        ["-R", "-m", "u:11004:rX"],
        ["-R", "-b"],
        ["-P", "-R", "-m", "g:11999:rX,d:g:11999:rX"],
        ["--test", "-m", "u:11004:r"],
    ],
)
def setfacl(place: Place, options: list[str]) -> object:
    _prepared(place)
    changed = _run(place, "setfacl", *options, "it")
    shown = _run(place, "getfacl", "-R", "-n", "it")[1]
    return changed, sorted(shown.split("\n\n")), place.tree()


@case.each(options=[["-n"], ["-a", "-n"], ["-d", "-n"], ["-c", "-n"], ["-e", "-n"], ["-t", "-n"]])
def getfacl(place: Place, options: list[str]) -> object:
    _prepared(place)
    return _run(place, "getfacl", *options, "it", "it/a", "it/b")


@case
def getfacl_restores(place: Place) -> object:
    _prepared(place)
    saved = _run(place, "getfacl", "-R", "-n", "it")[1]
    _run(place, "setfacl", "-R", "-b", "it")
    (place / "saved").write_text(saved)
    restored = _run(place, "setfacl", "--restore=saved")
    (place / "saved").unlink()  # in the order of the listing, which is each filesystem's own
    return restored, place.tree()


@case.each(
    command=[
        ["cp", "-a"],
        ["cp", "-r"],
        ["cp", "-r", "--preserve=mode"],
        ["rsync", "-aA"],
        ["rsync", "-aAX"],
        ["rsync", "-a"],
        ["mv"],
    ],
)
def carried_by(place: Place, command: list[str]) -> object:
    _prepared(place)
    return _run(place, *command, "it", "copy"), place.tree()


@case
def carried_by_tar(place: Place) -> object:
    _prepared(place)
    (place / "out").mkdir()
    packed = _run(place, "tar", "--acls", "--xattrs", "-cf", "it.tar", "it")
    unpacked = _run(place, "tar", "--acls", "--xattrs", "-xpf", "it.tar", "-C", "out")
    (place / "it.tar").unlink()
    return packed, unpacked, place.tree()


@case
def cp_into_a_directory_with_a_default_list(place: Place) -> object:
    os.umask(0)
    _prepared(place)
    make(place / "file", mode=0o664)
    return _run(place, "cp", "file", "it/new"), lists(place / "it/new")


@case
def ls_marks_lists(place: Place) -> object:
    _prepared(place)
    done = _run(place, "ls", "-ln", "it")[1].splitlines()
    return [(line.split()[0], line.split()[-1]) for line in done[1:]]


@case
def test_and_find_ask_the_kernel(place: Place) -> object:
    _prepared(place)
    return place.as_user(
        11003, 11003, (), _run, place, "find", "it", "-maxdepth", "1", "-readable", "-name", "a"
    )
