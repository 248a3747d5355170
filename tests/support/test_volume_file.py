"""Editing a volume file changes the one key."""

from __future__ import annotations

from pathlib import Path

from tests.support.volume_file import set_key

TEXT = "version: 1\nlog:\n  file: a\n  level: info\nhead: 64KiB  # bytes\n"


def test_nested_key_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "volume.yaml"
    path.write_text(TEXT)
    set_key(path, "log", "{file: b}")
    assert path.read_text() == "version: 1\nhead: 64KiB  # bytes\nlog: {file: b}\n"


def test_absent_key_is_added(tmp_path: Path) -> None:
    path = tmp_path / "volume.yaml"
    path.write_text(TEXT)
    set_key(path, "index", "i.db")
    assert path.read_text() == TEXT + "index: i.db\n"
