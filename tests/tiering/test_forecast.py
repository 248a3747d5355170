"""What would be moved now, told by the daemon and by other processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.tiering.fake_world import FLASH, HEAD, PER_MIB, Driver
from tests.tiering.many_inodes import FIRST, fill_index
from tierfs.common.metrics import Metrics
from tierfs.common.osio import SYSTEM
from tierfs.common.units import MIB
from tierfs.metadata.index import Index, IndexCatalog
from tierfs.metadata.pins_and_requests import Pin, Request
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy
from tierfs.tiering.forecast import BLOCK, ForecastRequest, forecast, forecast_apart
from tierfs.tiering.heat import Heat
from tierfs.tiering.heat_file import pack_heat
from tierfs.tiering.target import PolicyEvaluator
from tierfs.tiering.watermarks import Levels, Moment

POLICY = """\
version: 1
rules:
  - {name: archive, match: {path: "/d6754*/**"}, head: none}
  - {name: sevens, match: {path: "**/f*7"}, pin: true, head: all}
"""


def test_a_plan_tells_moves_by_rule_and_moves_nothing(driver: Driver) -> None:
    world = driver.world
    world.fill(range(1, 80 * PER_MIB + 1), name="/live/a", mirrored=1)
    world.fill(range(5001, 5001 + PER_MIB), name="/archive/a", mirrored=1)
    world.fill(range(6001, 6001 + 10), name="/screens/a", prefix=0)
    world.add(7001, name="/live/b")
    world.noted_requests = {7001: Request(7001, 0)}
    plan = driver.engine.plan(
        driver.policy(
            FLASH + "rules:\n"
            "  - {name: archive, match: {path: /archive/**}, head: none, evict: never}\n"
            "  - {name: screens, match: {path: /screens/**}, pin: true}\n"
        )
    )
    told = {(line.move, line.rule, line.reason): (line.files, line.bytes) for line in plan.lines}
    freed = told.pop(("evict", None, "full"))
    assert plan.to_free == world.used - 60 * MIB
    assert plan.to_free <= freed[1] < plan.to_free + HEAD
    assert told == {
        ("demote", "archive", "head: none"): (PER_MIB, MIB),
        ("promote", "screens", "pin"): (10, 10 * HEAD),
        ("mirror", None, "mirror"): (1, HEAD),
        ("hand", None, "by hand"): (1, HEAD),
    }
    assert not world.placed
    assert not world.mirrored
    assert plan.files == len(world.inodes)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """Of more files than one process takes at a time."""
    path = tmp_path / "index.db"
    path.touch()
    Index(path, SYSTEM, Metrics()).close()
    fill_index(path, BLOCK + 1000, time.time_ns())
    index = Index(path, SYSTEM, Metrics())
    yield index
    index.close()


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return load_policy(path)


def test_it_is_the_plan_that_would_be_made_here(index: Index, policy: Policy) -> None:
    with index.transaction():
        index.pins_and_requests.pin(Pin(FIRST + 5, None))
        index.pins_and_requests.request(Request(FIRST + 6, 0))
    moment = Moment(time.time_ns(), Levels(10**9, 5 * 10**8), 12 * 10**8, 2 * 10**9, may_work=True)
    heat = Heat(64)
    heat.feed([(FIRST + 7, 3, 100)], moment.now)
    with closing(IndexCatalog(index)) as catalog:
        here = forecast(
            catalog, PolicyEvaluator(catalog, heat, policy), heat, moment, lambda: False
        )
    question = ForecastRequest(index.path, policy, pack_heat(heat), heat.capacity, moment)
    assert forecast_apart(question, index.checkpoint_for_snapshot()) == here
    assert here.files == BLOCK + 1000
    assert {line.move for line in here.lines} == {"demote", "promote", "evict", "hand"}
