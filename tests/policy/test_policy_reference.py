"""The pages about policies say what the declarations and the commands do."""

from __future__ import annotations

import grp
import pwd
import re
from pathlib import Path
from typing import Any

import pytest

from tests.policy.loading import CONFIGS, PolicyLoader
from tests.policy.policy_page import PAGE, rendered, tables
from tierfs.cli.main import main
from tierfs.policy.model import Flash, Mover
from tierfs.policy.schema import REQUIRED, Field, Schema
from tierfs.policy.yaml import parse_document

DOCS = CONFIGS.parent / "docs"
TUTORIAL = DOCS / "tutorial" / "first-policy.md"
PAGES = [
    PAGE,
    TUTORIAL,
    *(DOCS / "how-to").glob("*screen.md"),
    *(DOCS / "how-to").glob("*archives*.md"),
    *(DOCS / "how-to").glob("*night.md"),
]
FIELDS = [field for table in tables() for field in table.fields]
IN_WORDS = {
    "the whole filesystem",
    "",
    "always",
    "none",
    "see below",
    "the `head` of the volume file",
}


@pytest.fixture(autouse=True)
def _lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user and the group of the examples."""
    lab = pwd.struct_passwd(("lab", "x", 1000, 1000, "", "/", "/bin/sh"))
    imaging = grp.struct_group(("imaging", "x", 1000, []))
    monkeypatch.setattr(pwd, "getpwnam", {"lab": lab}.__getitem__)
    monkeypatch.setattr(grp, "getgrnam", {"imaging": imaging}.__getitem__)


def read(field: Field[Any], text: str) -> object:
    document = parse_document(Path("x.yaml"), text)
    value: object = field.reader.read(document.root, document.diagnostics)
    document.diagnostics.raise_if_any()
    return value


def blocks() -> list[str]:
    found = [
        block for page in PAGES for block in re.findall(r"(?s)```yaml\n(.*?)```", page.read_text())
    ]
    assert len(found) > 12
    return found


def test_the_tables_of_keys_are_those_of_the_declarations() -> None:
    page = PAGE.read_text()
    assert page == rendered(page), "run: python -m tests.policy.policy_page"
    assert page.count("<!-- keys:") == len(tables())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field.name))
def test_every_key_says_what_it_is_for_and_its_example_is_right(field: Field[Any]) -> None:
    assert field.meaning.endswith(".")
    assert read(field, field.example) is not None


@pytest.mark.parametrize(
    "field",
    [field for field in FIELDS if field.unset not in IN_WORDS],
    ids=lambda field: field.name,
)
def test_the_documented_default_is_the_real_one(field: Field[Any]) -> None:
    assert read(field, field.unset) == field.default


def test_every_optional_setting_has_a_documented_default() -> None:
    for table in tables():
        if table.name not in {'"match"', '"reads"'}:
            assert [f.name for f in table.fields if f.default is not REQUIRED and not f.unset] == []


@pytest.mark.parametrize("block", blocks())
def test_the_examples_load(policies: PolicyLoader, block: str) -> None:
    policy = policies.load(block)
    assert isinstance(policy.flash, Flash)
    assert isinstance(policy.mover, Mover)


def test_the_mistakes_shown_are_what_is_said(policies: PolicyLoader) -> None:
    text = (
        "version: 1\nhaed: 64KiB\nflash: {high_watermark: 85%, low_watermark: 90%}\nrules:\n"
        "  - name: small\n    match: {size: 4MiB}\n"
        '  - {name: all, match: {path: "**"}}\n'
        "  - {name: rest, match: {owner: 0}}\n"
    )
    (shown,) = re.findall(r"(?s)```\n(policy\.yaml:.*?)```", PAGE.read_text())
    assert [f"policy.yaml:{line}" for line in policies.diagnostics(text)] == shown.splitlines()


def test_the_tutorial_shows_what_the_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TUTORIAL.read_text()
    first, second = re.findall(r"(?s)```yaml\n(# policy.yaml\n.*?)```", text)
    (tmp_path / "data/archive/2019").mkdir(parents=True)
    (tmp_path / "data/archive/2019/index.json").write_text("{}\n")
    (tmp_path / "data/plate.tif").write_bytes(bytes(20_000_000))
    monkeypatch.chdir(tmp_path)
    wrong = first.replace("path", "pth").replace("none", "non")
    files = iter([first, wrong, second, second])
    shown = re.findall(r"(?m)^\$ tierfs policy ((?:check|explain) .*)\n((?:(?!```|\$).*\n)*)", text)
    for command, output in shown:
        Path("policy.yaml").write_text(next(files))
        code = main(["policy", *command.split()])
        printed = capsys.readouterr()
        assert printed.out + printed.err == output
        assert code == (2 if "did you mean" in output else 0)
    assert len(shown) == 4


def test_tables_nest_as_the_page_shows_them() -> None:
    nested = [field.name for field in FIELDS if isinstance(field.reader, Schema)]
    assert nested == ["flash", "mover"]
