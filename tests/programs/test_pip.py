"""Pip: a large package installed into a virtual environment on the mount, and imported from it."""

from __future__ import annotations

import base64
import csv
import hashlib
import sys
from pathlib import Path

import pytest

from tests.support.mounting import Mount
from tests.support.proc import drop_page_cache, run

pytestmark = pytest.mark.long

PACKAGE = "numpy"
"""A thousand files, among them shared libraries of tens of megabytes."""

LIMIT = 240
"""Seconds that an installation may take: the package comes from the index that pip knows."""

PROGRAM = """
import numpy
matrix = numpy.arange(10_000, dtype=float).reshape(100, 100) + numpy.eye(100) * 1e4
assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(100))
print(numpy.__file__)
"""


@pytest.mark.timeout(2 * LIMIT)
def test_package_is_installed_imported_and_removed(mounted: Mount) -> None:
    python = make_environment(mounted.path / "venv")
    # The import compiles what it needs, and writes that to the mount.
    pip(python, "install", "--no-compile", PACKAGE)
    mounted.remount()
    drop_page_cache()
    assert run([python, "-c", PROGRAM], timeout=LIMIT).stdout.startswith(str(mounted.path))
    installed = recorded_files(python)
    assert len(installed) > 500
    assert [path for path, digest in installed.items() if digest_of(path) != digest] == []
    pip(python, "check")
    pip(python, "uninstall", "--yes", PACKAGE)
    assert not any(path.exists() for path in installed)


def make_environment(folder: Path) -> Path:
    """A virtual environment, which the tests' own pip will serve; returns its interpreter."""
    run([sys.executable, "-m", "venv", "--without-pip", folder], timeout=LIMIT)
    return folder / "bin" / "python"


def pip(python: Path, *arguments: str) -> None:
    """Let pip work on the environment of this interpreter."""
    run([sys.executable, "-m", "pip", "--python", python, "--quiet", *arguments], timeout=LIMIT)


def recorded_files(python: Path) -> dict[Path, str]:
    """What pip has noted of each file that it installed: where it is, and its digest."""
    (record,) = python.parents[1].glob(f"lib/python3*/site-packages/{PACKAGE}-*.dist-info/RECORD")
    with record.open(newline="") as file:
        rows = list(csv.reader(file))
    root = record.parents[1]
    return {root / name: digest for name, digest, _ in rows if digest}


def digest_of(path: Path) -> str:
    """As in the RECORD file of an installed package: PEP 376."""
    digest = hashlib.sha256(path.read_bytes()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
