"""The wheel: what is in it, that it mounts, and what an installation says that cannot be made."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.support.fixtures import scratch
from tests.support.proc import Argument, run

__all__ = ["scratch"]

pytestmark = [pytest.mark.once, pytest.mark.long]

SOURCES = ("tierfs", ".ci", "pyproject.toml", "README.md", "LICENSE")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
WHEEL = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
QUICK = {"CFLAGS": "-O0"}


def checkout(home: Path) -> Path:
    """A copy of what a wheel is made of, so that nothing is built in the checkout."""
    copy = home / "checkout"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            unbuilt = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, copy / name, ignore=unbuilt)
        else:
            shutil.copy(source, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("wheel")
    run([*PIP, *WHEEL, home, checkout(home)], timeout=200, env=QUICK)
    (found,) = home.glob("*.whl")
    return found


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.timeout(240)
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    kinds = ("*.py", "*.pyi", "*.sql", "*.html", "py.typed")
    wanted = {
        str(path.relative_to(ROOT)) for kind in kinds for path in ROOT.glob(f"tierfs/**/{kind}")
    }
    assert wanted <= found
    (extension,) = found - wanted
    assert re.fullmatch(r"tierfs/native/_router\.cpython-\d+-[\w-]+\.so", extension)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        assert {"METADATA", "LICENSE", "entry_points.txt", "RECORD"} <= files.keys()
        metadata = Parser().parsestr(archive.read(files["METADATA"]).decode())
        assert "tierfs = tierfs.cli.start:main" in archive.read(files["entry_points.txt"]).decode()
    assert metadata["Name"] == "tierfs"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_payload()
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert f"-{python}-{python}-linux" in wheel.name


def test_an_installed_wheel_mounts(wheel: Path, scratch: Path) -> None:
    installed, flash, disk, mnt = (scratch / name for name in ("lib", "flash", "disk", "mnt"))
    run([*PIP, "install", "--quiet", "--no-deps", "--target", installed, wheel])
    volume = scratch / "volume.yaml"
    for directory in (flash, disk, mnt):
        directory.mkdir()

    def tierfs(*arguments: str | Path) -> str:
        env = {"PYTHONPATH": os.fspath(installed)}
        program = [sys.executable, "-P", "-m", "tierfs"]
        return run([*program, *arguments], cwd=Path("/"), env=env).stdout

    where = [sys.executable, "-P", "-c", "import tierfs.native._router as r; print(r.__file__)"]
    router = run(where, cwd=Path("/"), env={"PYTHONPATH": os.fspath(installed)}).stdout
    assert router.startswith(os.fspath(installed))
    tierfs("init", volume, "--flash", flash, "--disk", disk)
    tierfs("mount", volume, mnt)
    try:
        (mnt / "file").write_bytes(b"x" * 100_000)
        assert (mnt / "file").read_bytes() == b"x" * 100_000
    finally:
        tierfs("umount", mnt)
    assert "Nothing is wrong." in tierfs("fsck", volume)


def test_an_installation_without_compiler_and_libfuse_names_the_packages(tmp_path: Path) -> None:
    """Before anything is compiled."""
    empty = tmp_path / "empty"
    empty.mkdir()
    argv: list[Argument] = [*PIP, *WHEEL, tmp_path, checkout(tmp_path)]
    done = run(argv, env={"PATH": os.fspath(empty), "CC": "cc"}, statuses=[1])
    said = done.stdout + done.stderr
    assert "tierfs needs a C compiler, pkg-config, libfuse 3 to be installed." in said
    assert "apt-get install gcc libc6-dev pkg-config libfuse3-dev" in said


def test_one_for_other_machines_needs_no_libfuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setenv("TIERFS_BUILD_WITHOUT_FUSE", "1")
    monkeypatch.syspath_prepend(ROOT / ".ci")
    assert importlib.import_module("build_backend").missing() == {}
