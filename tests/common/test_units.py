from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.units import GIB, KIB, MAX_SIZE, MIB, PIB, TIB, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        (4096, 4096),
        ("1B", 1),
        ("64KiB", 64 * KIB),
        ("64 KiB", 64 * KIB),
        ("  64KiB ", 64 * KIB),
        ("1.5GiB", 3 * GIB // 2),
        ("2TiB", 2 * TIB),
        ("3PiB", 3 * PIB),
        ("500GB", 500 * 10**9),
        ("1kB", 1000),
        ("2.5MB", 2_500_000),
        ("9223372036854775807", MAX_SIZE),
    ],
)
def test_reads_sizes_as_people_write_them(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a size"),
        ("KiB", "is not a size"),
        ("-1KiB", "is not a size"),
        (-1, "is not a size"),
        ("1e3", "is not a size"),
        ("0x10", "is not a size"),
        ("1_000", "is not a size"),
        ("٣KiB", "is not a size"),
        ("64KiB please", "is not a size"),
        ("0" * 19 + "1." + "0" * 20 + " " * 8 + "B please", "is not a size"),
        ("9" * 5000, "is not a size"),
        ("64K", "write 64KiB (1024 bytes each) or 64kB (1000 bytes each)"),
        ("64KB", "write 64KiB (1024 bytes each) or 64kB"),
        ("64kib", "write 64KiB (1024 bytes each)"),
        ("64m", "write 64MiB (1048576 bytes each) or 64MB"),
        ("64KiB\nmore", '"64KiB?more" is not a size'),
        ("64furlong", '"furlong" is not a unit of size; use one of B, KiB'),
        ("0.3KiB", "not a whole number of bytes"),
        ("9223372036854775808", "larger than any file can be"),
        ("8192PiB", "larger than any file can be"),
    ],
)
def test_refuses_what_is_no_size_or_could_be_two(text: str | int, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_size(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1, "1B"),
        (999, "999B"),
        (1000, "1000B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (64 * KIB, "64KiB"),
        (1025 * KIB, "1025KiB"),
        (3 * GIB // 2, "1.5GiB"),
        (GIB + 1, "1.00GiB"),
        (123_456_789, "118MiB"),
        (MIB - 1, "1024KiB"),
        (2048 * PIB, "2048PiB"),
    ],
)
def test_writes_sizes_in_a_few_characters(size: int, text: str) -> None:
    assert format_size(size) == text


def test_refuses_to_write_a_negative_size() -> None:
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        format_size(-1)


@given(st.integers(0, MAX_SIZE))
def test_what_is_written_reads_back_within_half_a_percent(size: int) -> None:
    text = format_size(size)
    number = text.rstrip("BKMGTPi")
    width = parse_size("1" + text.removeprefix(number))
    assert len(text) <= 8
    assert abs(Fraction(number) * width - size) <= Fraction(size, 200)


@given(st.integers(0, 1023), st.sampled_from(["B", "KiB", "MiB", "GiB", "TiB", "PiB"]))
def test_a_whole_number_of_units_is_written_exactly(number: int, unit: str) -> None:
    size = parse_size(f"{number}{unit}")
    assert parse_size(format_size(size)) == size


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_size(text) <= MAX_SIZE
