"""The policies of the soak are in force when it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.policies import MISTAKE, RULES, Politics
from tierfs.common.errors import ConfigError
from tierfs.policy.tier_policy import load_policy


def test_all_but_the_mistake_are_right(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    politics = Politics(path, every_s=3600)
    for rules in RULES:
        if rules == MISTAKE:
            with pytest.raises(ConfigError, match="siez"):
                load_policy(path)
        else:
            load_policy(path)
        politics.write()


@pytest.mark.parametrize("written", range(len(RULES)))
def test_whenever_it_stops_the_next_mount_takes_the_policy(tmp_path: Path, written: int) -> None:
    path = tmp_path / "policy.yaml"
    politics = Politics(path, every_s=3600)
    politics.start()
    for _ in range(written):
        politics.write()
    politics.stop()
    load_policy(path)
