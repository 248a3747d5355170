"""The model against the core: everything below the mount."""

from pathlib import Path

import pytest

from tests.model.core_driver import CoreDriver
from tests.model.moving_driver import MovingDriver
from tests.model.running import SMALL_HEAD, TIMEOUT_S, USUAL_HEAD, run_machine

pytestmark = pytest.mark.long


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize(
    ("boundary", "kernel"),
    [(SMALL_HEAD, "patient"), (SMALL_HEAD, "forgetful"), (USUAL_HEAD, "patient")],
)
def test_the_core_does_what_the_model_does(scratch: Path, boundary: int, kernel: str) -> None:
    forgetful = kernel == "forgetful"
    run_machine(
        lambda: CoreDriver(scratch, boundary, forgetful=forgetful), boundary, examples=50, steps=60
    )


@pytest.mark.timeout(TIMEOUT_S)
def test_the_core_does_what_the_model_does_while_files_move(scratch: Path) -> None:
    drivers: list[MovingDriver] = []

    def make() -> MovingDriver:
        drivers.append(MovingDriver(scratch, SMALL_HEAD, forgetful=False, seed=len(drivers)))
        return drivers[-1]

    run_machine(make, SMALL_HEAD, examples=25, steps=60)
    assert sum(driver.moved for driver in drivers) > 100


def test_a_file_that_was_cut_and_unlinked_lives_while_it_is_open(scratch: Path) -> None:
    driver = CoreDriver(scratch, SMALL_HEAD, forgetful=False)
    try:
        driver.rewrite((b"a",), b"x" * 3 * SMALL_HEAD)
        driver.open((b"a",), 0)
        driver.ftruncate(0, 2 * SMALL_HEAD)
        driver.unlink((b"a",))
        driver.forget()
        assert driver.fstat(0).size == 2 * SMALL_HEAD
        assert driver.pread(0, 0, 3 * SMALL_HEAD) == b"x" * 2 * SMALL_HEAD
        driver.close(0)
        driver.verify()
    finally:
        driver.finish()
