from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.units import (
    DAY,
    DURATION_UNITS,
    MAX_DURATION,
    SECOND,
    format_duration,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1s", SECOND),
        ("90s", 90 * SECOND),
        ("5min", 300 * SECOND),
        ("1.5h", 5400 * SECOND),
        (" 7 d ", 7 * DAY),
        ("2w", 14 * DAY),
        ("1y", 365 * DAY),
        ("100y", MAX_DURATION),
        ("0.001s", 10**6),
        ("0s", 0),
    ],
)
def test_reads_lengths_of_time_as_people_write_them(text: str, duration: int) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", '"" is not a length of time; write a number and a unit, such as 7d'),
        ("30", '"30" is not a length of time'),
        ("-1d", '"-1d" is not a length of time'),
        ("1h30min", '"1h30min" is not a length of time'),
        ("1d" + " " * 100 + "x", "is not a length of time"),
        ("9" * 5000 + "d", "is not a length of time"),
        ("٣d", "is not a length of time"),
        ("5m", '"m" is not clear; write 5min for minutes, or count months in days'),
        ("5M", '"M" is not clear'),
        ("7days", '"days" is not a unit of time; write 7d'),
        ("7D", '"D" is not a unit of time; write 7d'),
        ("2 hours", '"hours" is not a unit of time; write 2h'),
        ("2fortnights", '"fortnights" is not a unit of time; use one of s, min, h, d, w, y'),
        ("101y", '"101y" is too long; write 100y or less'),
        ("999999999w", "is too long"),
    ],
)
def test_refuses_what_is_no_length_of_time_or_could_be_two(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0s"),
        (SECOND // 2, "0.5s"),
        (59 * SECOND, "59s"),
        (90 * SECOND, "1.5min"),
        (7 * DAY, "7d"),
        (41 * DAY + DAY // 3, "41.3d"),
        (364 * DAY, "364d"),
        (400 * DAY, "1.1y"),
        (-90 * SECOND, "-1.5min"),
    ],
)
def test_shows_lengths_of_time_briefly(duration: int, text: str) -> None:
    assert format_duration(duration) == text


@given(number=st.integers(1, 99), unit=st.sampled_from(sorted(DURATION_UNITS)))
def test_what_is_shown_reads_back_to_about_the_same(number: int, unit: str) -> None:
    duration = parse_duration(f"{number}{unit}")
    assert abs(parse_duration(format_duration(duration)) - duration) <= duration // 100
