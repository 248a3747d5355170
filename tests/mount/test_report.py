"""``tierfs report`` of a mount: its figures are those of the mount, and the page stands alone."""

from __future__ import annotations

import html.parser
import os
import re
from pathlib import Path

import pytest

from tests.support.fixtures import MakeMount
from tests.support.mounting import HEAD, Mount, tierfs
from tierfs.common.errors import ExitCode

pytestmark = pytest.mark.once

VOID = {"meta", "link", "br", "img"}


class Page(html.parser.HTMLParser):
    """The texts of the cells by table, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.references: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"td", "th"}:
            self.tables[-1][-1][-1] += data


@pytest.fixture
def busy(make_mount: MakeMount, tmp_path: Path) -> Mount:
    """A mount with a policy, an access log, and names that HTML would misread."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\n")
    mount = make_mount.formatted()
    mount.configure("policy", str(policy))
    mount.configure("access_log", f"{{file: {tmp_path / 'access.log'}, size: 1MiB}}")
    mount.mount()
    (mount.path / "<b>&").mkdir()
    (mount.path / "<b>&/large").write_bytes(bytes(5 * HEAD))
    (mount.path / "small").write_bytes(bytes(100))
    os.chown(mount.path / "small", 54321, 0)
    return mount


def report(mounted: Path, output: Path, *options: str) -> Page:
    tierfs("report", mounted, "--output", output, *options)
    page = Page(output.read_text(encoding="utf-8"))
    assert not page.open
    assert not page.references, "it loads something"
    return page


def test_its_figures_are_those_of_the_mount(busy: Mount, tmp_path: Path) -> None:
    log = tmp_path / "reads.log"
    log.write_text(
        f"log 1 head={HEAD} flash=10485760\n"
        f"file 7 size={HEAD} mtime=1.0 uid=0 gid=0 head={HEAD} path=/7\n"
        f"1000 7 {HEAD}\n1500 7 {HEAD} x3\n2000 8 {HEAD}\n"
    )
    page = report(busy.path, tmp_path / "page.html", "--log", str(log))
    text = (tmp_path / "page.html").read_text()
    directories, owners, sizes, heads = page.tables[:4]
    assert [row[:4] for row in directories[1:]] == [
        [str(busy.path), "2", "320KiB", "64.1KiB"],
        [f"{busy.path}/<b>&", "1", "320KiB", "64KiB"],
    ]
    assert [row[:4] for row in owners[1:]] == [
        ["root", "1", "320KiB", "64KiB"],
        ["user 54321", "1", "100B", "100B"],
    ]
    assert [row[:4] for row in sizes[1:]] == [
        ["4KiB", "1", "100B", "100B"],
        ["512KiB", "1", "320KiB", "64KiB"],
    ]
    by_head = {row[0]: row[1:5] for row in heads[1:]}
    assert by_head["64KiB (now)"][0] == "64.1KiB"
    assert by_head["512KiB"][:4:2] == ["320KiB", "100.0 %"]
    assert by_head["64KiB (now)"][2] == "50.0 %"
    assert "80.0 %</b><span>of reads began on flash" in text
    assert re.findall(r"--part: ([\d.]+)%\"></u>", text)[0] == "100.0"


def test_it_says_why_there_is_no_history(busy: Mount, tmp_path: Path) -> None:
    report(busy.path, tmp_path / "page.html")
    assert "No read is in" in (tmp_path / "page.html").read_text()


def test_an_empty_mount_without_a_policy_has_a_page(mounted: Mount, tmp_path: Path) -> None:
    report(mounted.path, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "No accesses are recorded: add access_log" in text
    assert "There is no tier policy" in text


def test_what_is_wrong_is_said_in_a_line(mounted: Mount, tmp_path: Path) -> None:
    said = tierfs("report", tmp_path, statuses=(ExitCode.NOT_MOUNTED,))
    assert said.count("\n") == 1
    where = tmp_path / "missing/page.html"
    said = tierfs("report", mounted.path, "-o", where, statuses=(ExitCode.USAGE,))
    assert "No such file or directory; name another file" in said
