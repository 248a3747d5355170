"""How the router's C files hang together, as their object files tell."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.proc import REPOSITORY

SOURCE = REPOSITORY / "tierfs/native/src"
PREFIX = "tfs_"
MODULE = "PyInit__router"
"""The only name that Python chooses."""

DEFINED = frozenset("TDBRC")
"""Letters of nm(1) for symbols that other files may use."""


class Symbols(NamedTuple):
    """What each file defines, and what it uses of others."""

    defined: dict[str, str]
    used: dict[str, set[str]]


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Symbols:
    """Of all files, compiled."""
    compiler = shutil.which("gcc")
    assert compiler
    directory = tmp_path_factory.mktemp("objects")
    flags = ["-c", "-std=c11", "-D_GNU_SOURCE", "-fPIC", f"-I{sysconfig.get_path('include')}"]
    sources = sorted(SOURCE.glob("*.c"))
    under_way = [
        subprocess.Popen([compiler, *flags, source, "-o", directory / f"{source.stem}.o"])
        for source in sources
    ]
    assert [process.wait() for process in under_way] == [0] * len(sources)
    found = Symbols({}, {})
    for source in sources:
        found.used[source.stem] = set()
        for letter, name in _symbols(directory / f"{source.stem}.o"):
            if letter in DEFINED:
                found.defined[name] = source.stem
            elif letter == "U":
                found.used[source.stem].add(name)
    return found


def _symbols(file: Path) -> Iterator[tuple[str, str]]:
    for line in subprocess.check_output(["nm", file], text=True).splitlines():
        *_, letter, name = line.split()
        yield letter, name


def test_external_names_bear_one_prefix(symbols: Symbols) -> None:
    assert {name for name in symbols.defined if not name.startswith(PREFIX)} == {MODULE}


def test_no_files_call_one_another_in_a_circle(symbols: Symbols) -> None:
    """What is below calls nothing above it: files can be put in an order."""
    above = {
        file: {symbols.defined[name] for name in names if name in symbols.defined} - {file}
        for file, names in symbols.used.items()
    }
    while leaves := {file for file, below in above.items() if not below}:
        above = {file: below - leaves for file, below in above.items() if file not in leaves}
    assert above == {}


def test_only_one_place_makes_threads(symbols: Symbols) -> None:
    """It names them, and lets them take no signal."""
    makers = {file for file, names in symbols.used.items() if "pthread_create" in names}
    assert makers == {"pool"}


def test_the_allocator_of_the_process_is_left_alone(symbols: Symbols) -> None:
    assert not [file for file, names in symbols.used.items() if "mallopt" in names]
