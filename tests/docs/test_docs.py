"""The documents say what the code does, wherever a program can tell."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import click
import pytest
import yaml

from tests.docs.pages import (
    PAGES,
    ROOT,
    anchors,
    commands,
    first_cells,
    links,
    named_files,
    read,
)
from tierfs.cli.main import COMMANDS, tierfs
from tierfs.common.errors import ExitCode
from tierfs.common.metrics import TABLE, Metric
from tierfs.metadata.schema import MIGRATIONS
from tierfs.storage.markers import FORMAT


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), f"{page}: no {target}"
        assert not heading or heading in anchors(target), f"{page}: no #{heading} in {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    assert [name for name in named_files(page) if not (ROOT / name).exists()] == []


def test_every_document_is_in_the_list_of_documents() -> None:
    index = ROOT / "docs/README.md"
    listed = {target.resolve() for target, _ in links(index)}
    assert [page for page in PAGES if (ROOT / "docs") in page.parents and page != index] == sorted(
        target for target in listed if (ROOT / "docs") in target.parents
    )


def test_every_exit_code_is_documented() -> None:
    assert {str(code.value) for code in ExitCode} <= first_cells(
        read("docs/reference/exit-codes.md")
    )


def exported(metric: Metric) -> str:
    return f"tierfs_{metric.name}" + ("_total" if metric.kind == "counter" else "")


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: str(metric.name))
def test_every_metric_is_documented(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    row = f"| `{exported(metric)}` | {metric.kind} | {labels} |".replace("|  |", "| |")
    assert row in read("docs/reference/metrics.md")


def test_no_other_metric_is_documented() -> None:
    named = set(re.findall(r"^\| `(tierfs_\w+)`", read("docs/reference/metrics.md"), re.MULTILINE))
    assert named == {exported(metric) for metric in TABLE}


def schema() -> dict[str, list[str]]:
    """The columns of each table of an index."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)
        found = connection.execute(
            "SELECT table_info.name, column_info.name FROM sqlite_schema AS table_info "
            "JOIN pragma_table_info(table_info.name) AS column_info WHERE table_info.type = 'table'"
        ).fetchall()
    tables: dict[str, list[str]] = {}
    for table, column in found:
        tables.setdefault(table, []).append(column)
    return tables


def test_every_table_and_column_is_documented() -> None:
    text = read("docs/reference/on-disk-format.md")
    parts = dict(re.findall(r"^\| \*\*`(\w+)`\*\* ((?:.|\n(?!\n|\| \*\*))*)", text, re.MULTILINE))
    assert {
        name: [column for column in columns if f"`{column}`" not in parts.get(name, "")]
        for name, columns in schema().items()
    } == {name: [] for name in schema()}


def test_the_documented_format_is_the_current_one() -> None:
    text = read("docs/reference/on-disk-format.md")
    assert f"Format {FORMAT}." in text
    assert f"number of migrations applied, now {len(MIGRATIONS)}." in text


def test_every_package_is_in_the_table_of_layers() -> None:
    packages = {f"tierfs/{init.parent.name}" for init in ROOT.glob("tierfs/*/__init__.py")}
    layers = re.findall(
        r"^\| \d \| `([\w/]+)`", read("docs/explanation/architecture.md"), re.MULTILINE
    )
    assert set(layers) == packages


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    named = {words[0] for page in PAGES for words in commands(page.read_text("utf-8"), "make")}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_their_options_exist(page: Path) -> None:
    for verb, *words in commands(page.read_text(encoding="utf-8"), "tierfs"):
        assert verb in COMMANDS, f"{page}: tierfs {verb}"
        command = tierfs.get_command(click.Context(tierfs), verb)
        if isinstance(command, click.Group) and words and not words[0].startswith("-"):
            command = command.get_command(click.Context(command), words[0])
        assert isinstance(command, click.Command), f"{page}: tierfs {verb} {words}"
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, f"{page}: tierfs {verb}"


def test_the_readme_shows_the_whole_life_of_a_volume() -> None:
    verbs = {words[0] for words in commands(read("README.md"), "tierfs")}
    assert {"init", "mount", "status", "umount", "install-helpers"} <= verbs


def test_alert_rules_name_metrics_and_are_documented() -> None:
    rules = yaml.safe_load(read("configs/prometheus/alerts.yml"))["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"\btierfs_\w+", rule["expr"])}
    assert named <= {exported(metric) for metric in TABLE}
    documented = re.findall(r"^\| `(Tierfs\w+)`", read("docs/reference/metrics.md"), re.MULTILINE)
    assert documented == [rule["alert"] for rule in rules]
