"""The choice of the real tree that is copied."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from tierfs.base.errors import UsageError
from tierfs.demo import source
from tierfs.demo.source import AT_MOST, find_python_trees
from tierfs.demo.trees import count


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python installation of a few files: `stdlib` and `purelib`."""
    for place in ("stdlib", "purelib"):
        (tmp_path / place / "package").mkdir(parents=True)
        (tmp_path / place / "site-packages").mkdir()
        for number in range(5):
            (tmp_path / place / "package" / f"{number}.py").touch()
        (tmp_path / place / "module.py").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda place: str(tmp_path / place))
    return tmp_path


def test_this_machine_has_thousands_of_files() -> None:
    names = sum(count(tree, 1).names for tree in find_python_trees())
    assert 1_000 < names <= AT_MOST


def test_a_small_library_is_joined_by_the_installed_packages(places: Path) -> None:
    trees = find_python_trees()
    assert [(tree.name, tree.root) for tree in trees] == [
        ("python", places / "stdlib"),
        ("packages", places / "purelib"),
    ]
    assert trees[0].entries == ("module.py", "package")


def test_a_large_library_is_enough(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ENOUGH", 7)
    assert [tree.root for tree in find_python_trees()] == [places / "stdlib"]


@pytest.mark.usefixtures("places")
def test_what_is_too_much_or_unreadable_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "ENOUGH", 1)
    monkeypatch.setattr(source, "AT_MOST", 3)
    assert find_python_trees()[0].entries == ("module.py",)
    monkeypatch.setattr(os, "access", lambda path, _mode: "module" not in str(path))
    monkeypatch.setattr(source, "AT_MOST", 100)
    assert find_python_trees()[0].entries == ("package",)


def test_no_library_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="no readable Python library"):
        find_python_trees()
