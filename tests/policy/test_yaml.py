from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.policy.loading import GOOD, Loader
from tierfs.common.errors import ConfigError, ExitCode
from tierfs.policy.volume_file import load_volume_file
from tierfs.policy.yaml import MAX_BYTES, Mapping, Scalar, Sequence, parse_document


def test_values_know_where_they_stand_and_keep_their_spelling() -> None:
    document = parse_document(Path("x.yaml"), "a: 010\nb:\n  - yes\n  - 12:30\n")
    assert isinstance(document.root, Mapping)
    first, second = document.root.entries
    assert isinstance(first.value, Scalar)
    assert (first.value.text, first.value.kind) == ("010", "int")
    assert (second.position.line, second.position.column) == (2, 1)
    assert isinstance(second.value, Sequence)
    assert [(item.position.line, item.position.column) for item in second.value.items] == [
        (3, 5),
        (4, 5),
    ]
    assert [item.text for item in second.value.items if isinstance(item, Scalar)] == [
        "yes",
        "12:30",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty"),
        ("# nothing but this\n", "1:1: the file is empty"),
        ("hello", "1:1: the volume file must hold keys of its own"),
        ("- a\n- b", "1:1: the volume file must hold keys of its own"),
        ("a:\n\tb: 1", "2:1: not valid YAML"),
        ("a: b: c", "1:5: not valid YAML: mapping values are not allowed here; check the indent"),
        ("a: [1", "1:6: not valid YAML: while parsing a flow sequence that starts on line 1"),
        ("metrics: {listen: [::1]:9469}", "such as [::1]:9469) in quotes"),
        ("metrics:\n  listen: [::1]:9469", "such as [::1]:9469) in quotes"),
        ("a: 'b", "close the quotes"),
        ("a: @b", "1:4: not valid YAML: while scanning for the next token"),
        ('a: "\\q"', "double the backslash"),
        ('a: "\\UFFFFFFFF"', "1:7: not valid YAML: found an escape or number out of range"),
        ('a: "\\U00110000"', "not valid YAML: found an escape or number out of range"),
        ("%YAML 1." + "1" * 5000 + "\n--- a", "not valid YAML: found an escape or number out of"),
        ("%YAML 2.0\n--- a", "remove the line that begins with %YAML"),
        ("a: *b", "an alias (*name) is not supported; write the value out"),
        ("a: &b [*b]", "an alias (*name) is not supported"),
        ("a: 1\n---\nb: 1", "2:1: not valid YAML: expected a single document"),
        ("a: 1\nb: \x07", '2:4: the character "\\x07" does not belong in YAML'),
        ("a: !!python/object/apply:os.system [id]", 'the tag "!!python/object/apply:os.system"'),
        ("a: !!int [1]", 'the tag "!!int" is not supported here'),
        ("a: !!set {b}", 'the tag "!!set" is not supported here'),
        ("[" * 5000, "1:33: not valid YAML: nested deeper than 32 levels"),
        ("- " * 5000, "nested deeper than 32 levels"),
        (b"a: b\nc: \xff", "2:4: byte 0xff is not UTF-8 text; save the file in UTF-8"),
        (GOOD.encode("utf-16"), "1:1: byte 0xff is not UTF-8 text"),
    ],
)
def test_what_is_no_yaml_document_is_explained(
    loader: Loader, text: str | bytes, said: str
) -> None:
    lines = loader.diagnostics(text)
    assert any(said in line for line in lines), lines


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file or directory; check the name" in _refusal(tmp_path / "none.yaml")


def test_a_file_below_a_file(loader: Loader) -> None:
    loader.path.write_text(GOOD)
    assert "Not a directory; check the directories" in _refusal(loader.path / "x")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory; name the YAML file itself" in _refusal(tmp_path)


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file" in _refusal(tmp_path / "fifo")


def test_an_endless_device_is_refused() -> None:
    assert "is not a regular file" in _refusal(Path("/dev/zero"))


def test_a_file_that_may_not_be_read(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _flags: int) -> None:
        raise PermissionError(13, "Permission denied")

    loader.path.write_text(GOOD)
    monkeypatch.setattr(os, "open", refuse)
    assert "Permission denied; run as a user who may read it" in _refusal(loader.path)


def test_a_huge_file_is_refused(loader: Loader) -> None:
    loader.path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "is larger than 256KiB" in _refusal(loader.path)
    loader.path.write_bytes(GOOD.encode() + b"#" * (MAX_BYTES - len(GOOD)))
    assert load_volume_file(loader.path).path == loader.path


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_a_name_that_no_file_can_have(name: str) -> None:
    _refusal(Path(name))


def _refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_volume_file(path)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)
