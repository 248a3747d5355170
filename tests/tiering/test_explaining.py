"""What the engine says of single files, and that no policy gets lost on its way to it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.tiering.fake_world import Driver
from tierfs.base.extents import WHOLE_FILE
from tierfs.index.pins_and_requests import Pin
from tierfs.policy.tier_policy import Policy
from tierfs.tiering.engine import Engine
from tierfs.tiering.explain import Explained

RULES = """\
rules:
  - {name: often, match: {path: "/b/**"}, head: 8KiB, promote: {reads: 2, within: 1h, to: 32KiB}}
  - {name: idle, match: {idle: "> 1d"}, head: none}
"""


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    made = Driver(tmp_path)
    made.world.add(1, name="/a")
    made.world.add(2, name="/b/c")
    made.world.add(3, name="/a")
    return made


def one(driver: Driver, ino: int) -> Explained:
    (found,) = driver.engine.explain([ino]) or ()
    return found


def test_without_a_policy_there_is_nothing_to_explain(driver: Driver) -> None:
    assert driver.engine.explain([1]) is None


def test_files_that_are_gone_are_left_out(driver: Driver) -> None:
    driver.apply(RULES)
    assert [found.inode.ino for found in driver.engine.explain([9, 3, 1]) or ()] == [1, 3]


def test_reads_promote(driver: Driver) -> None:
    driver.apply(RULES)
    driver.ticks()
    before = one(driver, 2)
    assert (before.target.prefix, before.target.reason, before.warmth) == (8192, "head", None)
    for _ in range(3):
        driver.world.read(2)
        driver.ticks(1, 60)
    after = one(driver, 2)
    assert (after.explanation.decision.rule, after.target.prefix) == ("often", 32768)
    assert after.target.reason == "promote"
    assert after.warmth is not None
    assert after.warmth.reads == pytest.approx(3, abs=0.1)
    assert after.last_read is not None
    assert after.explanation.rules[0].findings[0].found == "/b/c"


def test_a_pin_by_hand_counts_whatever_the_rule_says(driver: Driver) -> None:
    driver.apply(RULES)
    driver.ticks()
    driver.time.pass_by(3 * 24 * 3600)
    assert (one(driver, 1).target.reason, one(driver, 1).target.prefix) == ("head: none", 0)
    driver.world.noted_pins[1] = Pin(1, None)
    found = one(driver, 1)
    assert (found.target.reason, found.target.prefix) == ("pin by hand", WHOLE_FILE)
    assert found.explanation.decision.rule == "idle"


def test_a_policy_that_comes_while_another_is_taken_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[threading.Thread] = []

    def taken(engine: Engine) -> Policy | None:
        policy: Policy | None = engine.__dict__.get("next")
        if policy is not None and not late:
            late.append(threading.Thread(target=racing.apply, args=("head: 16KiB",)))
            late[0].start()
            late[0].join(0.2)
        return policy

    def noted(engine: Engine, policy: Policy | None) -> None:
        engine.__dict__["next"] = policy

    monkeypatch.setattr(Engine, "_next", property(taken, noted), raising=False)
    racing = Driver(tmp_path)
    racing.world.add(2)
    racing.apply("head: 8KiB")
    racing.ticks()
    late[0].join()
    racing.ticks()
    assert one(racing, 2).target.prefix == 16384
