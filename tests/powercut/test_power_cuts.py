"""The power goes under load, on both tiers or on one; what was synced is there afterwards.

``TIERFS_POWER_CUTS`` is how often on each kind of filesystem, ``TIERFS_POWER_SEED`` the first seed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.powercut.devices import MAKE
from tests.powercut.trial import CUTS_OF_ONE_VOLUME, Tally, run_cuts, run_failure

pytestmark = pytest.mark.long

CUTS = int(os.environ.get("TIERFS_POWER_CUTS", "2"))
FAILURES = max(1, CUTS // 10)
SEED = int(os.environ.get("TIERFS_POWER_SEED", str(random.randrange(2**31))))
SECONDS_A_CUT = 30


def told(capsys: pytest.CaptureFixture[str], tally: Tally, title: str) -> None:
    """Print what a long run found, and fail if anything is wrong."""
    table = "\n".join([title, *tally.table()])
    if CUTS > CUTS_OF_ONE_VOLUME:
        with capsys.disabled():
            print(f"\n{table}")  # noqa: T201 - the figures of a long run
    assert not tally, "\n".join([table, *tally.texts])


@pytest.mark.timeout(60 + SECONDS_A_CUT * CUTS)
@pytest.mark.parametrize("kind", MAKE)
def test_what_was_synced_survives_power_cuts(
    kind: str, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally, seed = Tally(), SEED
    while (done := tally.looked["cuts"] + tally.looked["kills"]) < CUTS:
        home = scratch / f"{seed}"
        home.mkdir()
        run_cuts(home, kind, min(CUTS - done, CUTS_OF_ONE_VOLUME), seed, tally)
        seed += 1
    told(capsys, tally, f"power cuts on {kind}, seeds {SEED} to {seed - 1}")


def test_the_same_holds_for_a_native_filesystem(scratch: Path) -> None:
    """So the rules are not stricter than those of the kernel."""
    tally = Tally()
    run_cuts(scratch, "ext4", 1, SEED, tally, native=True)
    assert not tally, "\n".join(tally.texts)


@pytest.mark.timeout(60 + SECONDS_A_CUT * FAILURES)
@pytest.mark.parametrize("which", ["flash", "disk"])
def test_what_was_synced_survives_a_failing_device(
    which: str, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally()
    for seed in range(SEED, SEED + FAILURES):
        home = scratch / f"{seed}"
        home.mkdir()
        run_failure(home, seed, tally, which)
    told(capsys, tally, f"the device of {which} fails, seeds {SEED} to {SEED + FAILURES - 1}")
