"""What commands say names no file of the repository: who installed with pip has none of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.docs.pages import ROOT
from tierfs.cli.main import tierfs

OURS = re.compile(r"\b(?:docs|configs|tests)/[\w./-]+\.(?:md|ya?ml|py)")
MODULES = sorted((ROOT / "tierfs").rglob("*.py"))


def spoken(tree: ast.AST) -> Iterator[str]:
    """Every text of a module that is no docstring."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_name_no_file_of_the_repository(module: Path) -> None:
    said = spoken(ast.parse(module.read_text(encoding="utf-8")))
    assert [text for text in said if OURS.search(text)] == []


def helps(command: click.Command, context: click.Context) -> Iterator[str]:
    yield command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from helps(found, click.Context(found, parent=context, info_name=name))


def test_help_names_no_file_of_the_repository() -> None:
    texts = list(helps(tierfs, click.Context(tierfs, info_name="tierfs")))
    assert len(texts) > 20
    assert [text for text in texts if OURS.search(text)] == []
