from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.errors import ConfigError, TierfsError, VolumeRefused, printable, printable_lines


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plate 1.tif", "plate 1.tif"),
        ("größe", "größe"),
        (b"a\xffb", r"a\xffb"),
        ("a\udcffb", r"a\xffb"),
        ("a\ud800b", r"a\ud800b"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("\x9b31m", r"\x9b31m"),
        ("right\u202eleft\u2028", r"right\u202eleft\u2028"),
        (Path("/a\n"), r"/a\n"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(name: str | bytes | Path, shown: str) -> None:
    assert printable(name) == shown


@given(st.text() | st.binary())
def test_every_name_is_one_line_that_can_be_written(name: str | bytes) -> None:
    shown = printable(name)
    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()


def test_lines_stay_lines() -> None:
    assert printable_lines("a\nb\x1bc\r\n") == "a\nb\\x1bc\\r\n"


def test_an_error_is_one_line_unless_it_says_otherwise() -> None:
    name = "/a\n/etc/shadow: OK\x1b[8m"
    assert str(VolumeRefused(f"{name}: refused")) == r"/a\n/etc/shadow: OK\x1b[8m: refused"
    assert str(ConfigError.of_lines([f"{name}: one", "two"])).splitlines() == [
        r"/a\n/etc/shadow: OK\x1b[8m: one",
        "two",
    ]
    assert isinstance(ConfigError.of_lines(["one"]), TierfsError)
