from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.loading import PolicyLoader
from tierfs.policy.model import Mover

# 2026-11-02 was a Monday.
DAYS = {"mon": 2, "tue": 3, "wed": 4, "thu": 5, "fri": 6, "sat": 7, "sun": 8}


def at(text: str) -> datetime:
    day, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2026-11-0{DAYS[day]} {time}")


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        (
            "22:00-06:00",
            ["mon 22:00", "mon 23:59", "mon 00:00", "sun 05:59"],
            ["mon 06:00", "mon 21:59"],
        ),
        ("08:00-17:30", ["mon 08:00", "sun 17:29"], ["mon 07:59", "mon 17:30", "mon 00:00"]),
        ("8:00-9:00", ["mon 08:30"], ["mon 09:00"]),
        ("00:00-24:00", ["mon 00:00", "sun 23:59"], []),
        (
            "mon-fri 22:00-06:00",
            ["fri 23:00", "sat 05:00", "mon 22:00"],
            ["mon 05:00", "sat 22:00"],
        ),
        ("sat,sun 00:00-24:00", ["sat 00:00", "sun 23:59"], ["fri 23:59", "mon 00:00"]),
        (
            "sat-mon 10:00-11:00",
            ["sat 10:00", "sun 10:00", "mon 10:00"],
            ["tue 10:00", "fri 10:00"],
        ),
        ("Sun 23:00-01:00", ["sun 23:00", "mon 00:59"], ["sun 00:30", "mon 01:00"]),
        ("mon, wed-thu  1:00-2:00", ["mon 01:00", "wed 01:00", "thu 01:59"], ["tue 01:00"]),
        ("22:00-06:00 | sat 00:00-24:00", ["sat 12:00", "mon 23:00"], ["sun 12:00"]),
    ],
)
def test_when_the_mover_may_work(
    policies: PolicyLoader, window: str, inside: list[str], outside: list[str]
) -> None:
    windows = window.split(" | ")
    mover = policies.load(f"version: 1\nmover: {{window: {windows}}}\n").mover
    assert [when for when in inside if not mover.may_work(at(when))] == []
    assert [when for when in outside if mover.may_work(at(when))] == []


@given(when=st.datetimes())
def test_without_windows_it_always_may(when: datetime) -> None:
    assert Mover(None, None, 1, (), None).may_work(when)
