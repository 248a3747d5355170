"""What only flash has: since when, in sums that are kept, and on a volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiering.fake_world import LONG_AGO, START, Driver
from tierfs.base.durations import SECOND
from tierfs.tiering.scanner import EXPOSURE_SPAN


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def since(driver: Driver) -> int | None:
    return driver.engine.state().flash_only_since


def test_the_oldest_file_that_only_flash_has_is_known_without_a_policy(driver: Driver) -> None:
    world = driver.world
    world.add(1, changed=LONG_AGO - 5 * SECOND, mirrored=1)
    world.add(2, changed=LONG_AGO - 4 * SECOND, prefix=0)
    world.add(3, changed=LONG_AGO)
    world.add(2 * EXPOSURE_SPAN, changed=LONG_AGO - 3 * SECOND)
    driver.ticks()
    assert since(driver) is None  # the first round has not ended
    driver.ticks()
    assert since(driver) == LONG_AGO - 3 * SECOND
    read = driver.metrics.registry.get_sample_value
    assert read("tierfs_flash_only_oldest_timestamp_seconds") == START / SECOND - 3603


def test_when_all_is_mirrored_there_is_none(driver: Driver) -> None:
    driver.world.fill(range(1, 101))
    driver.ticks()
    assert since(driver) == LONG_AGO
    driver.apply("mirror: async")
    driver.ticks(40)
    assert since(driver) is None
    assert (
        driver.metrics.registry.get_sample_value("tierfs_flash_only_oldest_timestamp_seconds") == 0
    )
