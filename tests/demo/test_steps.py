"""Copying, measuring and reporting, on plain directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.demo.conftest import Copied, Recorder
from tierfs.base.errors import DamageFound, ExitCode, TierfsError
from tierfs.base.text import printable
from tierfs.demo import app, copying, first_read, report
from tierfs.demo.copying import copy_tree
from tierfs.demo.findings import Difference, Findings, Kind
from tierfs.demo.first_read import Cost, Measured
from tierfs.demo.storage import Storage
from tierfs.demo.trees import Census, Tree
from tierfs.demo.ui import Ui
from tierfs.demo.volume import Status, TierStatus, parse_status

STATUS = Status(64, TierStatus(1, 10), TierStatus(2, 20), 4096, 7)


def test_copying_counts_the_bytes_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "-a").write_bytes(bytes(300_000))
    (source / os.fsdecode(b"\xff")).mkdir()
    advanced: list[int] = []
    copy_tree(Tree.whole("t", source), tmp_path / "target", advanced.append)
    assert sorted(os.listdir(tmp_path / "target")) == sorted(os.listdir(source))
    assert sum(advanced) >= 0
    assert (tmp_path / "target" / "-a").stat().st_size == 300_000


def test_a_failing_copy_says_why(tmp_path: Path) -> None:
    tree = Tree("t", tmp_path, ("missing",))
    with pytest.raises(TierfsError, match=r"(?s)cp -a failed.*missing"):
        copy_tree(tree, tmp_path / "target", lambda _: None)


def test_an_interrupted_copy_ends_cp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(bytes(1000))
    monkeypatch.setattr(copying, "bytes_read", lambda _: 1)
    with pytest.raises(KeyboardInterrupt):
        copy_tree(Tree("t", tmp_path, ("file",)), tmp_path / "target", interrupt)


def test_bytes_read_of_processes_known_and_unknown() -> None:
    assert copying.bytes_read(os.getpid()) > 0
    assert copying.bytes_read(2**22 + 1) == 0


def test_first_reads_are_measured(copied: Copied, ui: Recorder) -> None:
    paths = first_read.sample_files(copied.tree, 100)
    assert len(paths) == len(set(paths)) == 6
    assert first_read.sample_files(copied.tree, 2) == paths[:2]
    measured = first_read.measure("here", copied.target, paths, 64)
    assert sum(cost.bytes for cost in measured.costs) == 256 * 8192 + 4 + 3 * 5
    assert all(0 < cost.head_s <= cost.whole_s for cost in measured.costs)
    first_read.show(ui, [measured], ["A remark."])
    assert "First read of 6 random images" in ui.text
    assert "A remark." in ui.text


def test_a_row_of_costs_has_medians_and_rates() -> None:
    costs = [Cost(0.001, 0.002, 2**20), Cost(0.003, 0.004, 2**20), Cost(0.002, 0.003, 2**20)]
    assert Measured("x", costs).row() == ("x", "2.00 ms", "3.00 ms", "3.00 ms", "4.00 ms", "333")


def test_remarks_are_honest_about_the_storage() -> None:
    virtual = Storage(1, "ext4", "/dev/vda1", rotational=True)
    remarks = app.first_read_remarks(virtual, virtual, names_dropped=False)
    for words in ("same storage", "virtual disk", "Without root"):
        assert words in " ".join(remarks)
    flash = Storage(2, "xfs", "/dev/nvme0n1", rotational=False)
    disk = Storage(3, "xfs", "/dev/sda", rotational=True)
    assert len(app.first_read_remarks(flash, disk, names_dropped=True)) == 1
    assert "no seek to save" in app.first_read_remarks(disk, flash, names_dropped=True)[1]


def test_placement_is_counted_in_the_directories(tmp_path: Path, ui: Recorder) -> None:
    (tmp_path / "flash" / "heads" / "00").mkdir(parents=True)
    (tmp_path / "disk" / "objects").mkdir(parents=True)
    (tmp_path / "flash" / "heads" / "00" / "2").write_bytes(bytes(64))
    (tmp_path / "disk" / "objects" / "2").write_bytes(bytes(5000))
    report.show_placement(ui, tmp_path / "flash", tmp_path / "disk", STATUS, Census())
    assert report.use_of(tmp_path / "disk" / "objects").largest == 5000
    assert "7 inodes in 4KiB" in ui.text
    (tmp_path / "flash" / "heads" / "00" / "3").write_bytes(bytes(65))
    with pytest.raises(DamageFound, match="more than a head"):
        report.show_placement(ui, tmp_path / "flash", tmp_path / "disk", STATUS, Census())


def test_sources_are_added_up(ui: Recorder) -> None:
    report.show_sources(ui, {"a": Census(9, 1, 1000, 2048, 64), "b": Census(9, 1, 234, 1024, 64)})
    assert "1,234" in ui.text
    assert "3KiB" in ui.text


def test_status_is_read() -> None:
    tiers = '{"flash": {"files": 1, "bytes": 10}, "disk": {"files": 2, "bytes": 20}}'
    text = f'{{"head": 64, "tiers": {tiers}, "index": {{"bytes": 4096, "inodes": 7}}}}'
    assert parse_status(text) == STATUS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"head": 1, "tiers": {"flash": 3}}'])
def test_a_status_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(TierfsError, match="cannot understand"):
        parse_status(text)


def test_a_difference_is_damage() -> None:
    findings = Findings([Difference(Path("a b"), Kind.BYTES, "first at offset 3")]).below("images")
    with pytest.raises(DamageFound, match=r"1 places:\n  images/a b has other bytes") as raised:
        app.judge(findings, 10)
    assert raised.value.exit_code is ExitCode.DAMAGE


def test_too_little_judged_is_no_success() -> None:
    aside = Findings(set_aside=[Path("a"), Path("b")])
    app.judge(aside, 1000)
    with pytest.raises(TierfsError, match="too much of the source changed"):
        app.judge(aside, 10)


def test_strange_names_are_shown_as_escapes() -> None:
    assert printable(os.fsdecode(b"a\xff\n b")) == r"a\xff\n b"
    assert printable(Path("Grüße")) == "Grüße"


def test_progress_is_plain_without_a_terminal(ui: Recorder) -> None:
    with ui.progress("Copying", 2048) as advance:
        advance(2048)
    with ui.step("Waiting"):
        pass
    lines = ui.text.splitlines()
    assert lines[0] == "Copying ..."
    assert lines[1].startswith("Copying: 2KiB in 0.0 s")
    assert lines[2] == "Waiting: 0.0 s"


def test_progress_is_a_bar_on_a_terminal() -> None:
    terminal = Recorder(terminal=True)
    with terminal.progress("Copying", 2048) as advance:
        advance(1024)
    with terminal.step("Waiting"):
        pass
    assert "\x1b[" in terminal.text
    assert "━" in terminal.text
    assert isinstance(terminal, Ui)
