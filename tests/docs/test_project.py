"""What a release and CI rely on: one version, and a pinned version of every dependency."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import read

PROJECT = tomllib.loads(read("pyproject.toml"))["project"]
NAME = re.compile(r"[\w.-]+")


def canonical(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names (PEP 503)."""
    name = NAME.match(requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_changelog_has_the_version_of_the_project() -> None:
    headings = re.findall(r"(?m)^## \[([^\]]+)\]", read("CHANGELOG.md"))
    assert headings[:2] == ["Unreleased", PROJECT["version"]]


def test_ci_pins_every_dependency() -> None:
    lines = read(".ci/constraints.txt").splitlines()
    pinned = {canonical(line) for line in lines if line and not line.startswith("#")}
    extras = [name for names in PROJECT["optional-dependencies"].values() for name in names]
    wanted = [*PROJECT["dependencies"], *extras]
    assert [name for name in wanted if canonical(name) not in pinned] == []


def test_every_pin_is_exact() -> None:
    lines = read(".ci/constraints.txt").splitlines()
    assert [line for line in lines if line and not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []
