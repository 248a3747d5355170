"""The rules for Prometheus are right: promtool checks them, and each alert fires when it must."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml

from tests.monitoring.prometheus import RULES, rules
from tests.support.proc import run

TARGET = {"job": "tierfs", "instance": "node1:9469"}
MOUNT = {"volume": "/etc/tierfs/images.yaml", "mountpoint": "/mnt/images"}


class Case(NamedTuple):
    """Series, one sample a minute, by which an alert is quiet at first and fires at the end."""

    series: dict[str, str]
    quiet: str
    """When the alert is not there."""
    firing: str
    """When it is."""
    more: Mapping[str, str] = MappingProxyType({})
    """Labels of the alert besides those of the mount."""
    labels: tuple[str, ...] = (*TARGET, *MOUNT)
    """Which labels of the target and the mount the alert has."""


COUNTS = "0x5 1x20"
"""A counter that has counted once after the fifth minute."""

CASES = {
    "TierfsDown": Case({"up": "1x5 0x20"}, "6m", "10m", labels=tuple(TARGET)),
    "TierfsFlashOnly": Case(
        # Time begins at 0 here: the file of minute 1 is an hour old from minute 61 on.
        {"tierfs_flash_only_oldest_timestamp_seconds": "60x90"},
        "70m",
        "80m",
    ),
    "TierfsFlashFull": Case(
        {
            "tierfs_flash_used_bytes": "80x10 90x60",
            'tierfs_flash_watermark_bytes{mark="high"}': "85x70",
        },
        "35m",
        "45m",
        labels=("instance", "mountpoint"),
    ),
    "TierfsDiskFull": Case(
        {
            'tierfs_tier_free_bytes{tier="disk"}': "10x5 4x30",
            'tierfs_tier_size_bytes{tier="disk"}': "100x35",
        },
        "5m",
        "20m",
        {"tier": "disk"},
        ("instance", "mountpoint"),
    ),
    "TierfsPinsDoNotFit": Case(
        {'tierfs_pinned_elsewhere_bytes{reason="room"}': "0x5 10x30"},
        "10m",
        "20m",
        labels=("instance", "mountpoint"),
    ),
    "TierfsMoverSuspended": Case({"tierfs_mover_suspended": "0x5 1x5"}, "4m", "8m"),
    "TierfsPolicyWrong": Case({"tierfs_policy_valid": "1x5 0x5"}, "4m", "8m"),
    "TierfsDamage": Case({"tierfs_damage_total": COUNTS}, "5m", "8m"),
    "TierfsLostBytes": Case({"tierfs_lost_files": "0x5 1x5"}, "4m", "8m"),
    "TierfsWrongCopies": Case(
        {'tierfs_wrong_copies_total{copy="head",outcome="healed"}': COUNTS},
        "5m",
        "8m",
        {"copy": "head", "outcome": "healed"},
    ),
    "TierfsBackupOld": Case(
        # Time begins at 0 here, when the last one was made.
        {
            "tierfs_backup_last_timestamp_seconds": "1x90",
            "tierfs_backup_interval_seconds": "600x90",
        },
        "29m",
        "45m",
        labels=("instance", "job", "mountpoint", "volume"),
    ),
    "TierfsFeedNotCopied": Case(
        {"tierfs_feed_behind": "0x5 7x20", "tierfs_feed_copy_failures_total": "0x5 1+1x20"},
        "5m",
        "10m",
    ),
    "TierfsSyncFails": Case({"tierfs_sync_failures_total": COUNTS}, "5m", "8m"),
    "TierfsTierIsGone": Case(
        {'tierfs_tier_answers{tier="disk"}': "1x5 0x5"}, "5m", "9m", {"tier": "disk"}
    ),
    "TierfsBackgroundFails": Case(
        {'tierfs_background_failures_total{task="tune"}': "_x5 1x30"},
        "4m",
        "8m",
        {"task": "tune"},
    ),
    "TierfsFlashFails": Case({"tierfs_mirror_reads_total": COUNTS}, "5m", "8m"),
    "TierfsTakenOver": Case(
        {'tierfs_takeovers_total{cause="killed"}': "0x5 1x20 2 3 4x10"},
        "15m",
        "30m",
        {"cause": "killed"},
    ),
    "TierfsFailure": Case({"tierfs_handler_failures_total": COUNTS}, "5m", "8m"),
}


def series(name: str, more: dict[str, str]) -> str:
    """A series of the mount, as promtool reads it."""
    bare, _, rest = name.partition("{")
    labels = TARGET | ({} if bare == "up" else MOUNT) | more
    written = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{bare}{{{','.join([*written, rest.rstrip('}')])}}}"


def filled(text: str, labels: dict[str, str]) -> str:
    """A template of an annotation with its labels in place."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


def promtool_test(rule: dict[str, Any], case: Case) -> dict[str, Any]:
    """One unit test for promtool: the alert is quiet, then fires with its labels and texts."""
    labels = {key: value for key, value in (TARGET | MOUNT).items() if key in case.labels}
    labels |= case.more
    texts = {key: filled(text, labels) for key, text in rule["annotations"].items()}
    fired = {"exp_labels": labels | rule["labels"], "exp_annotations": texts}
    asked = {"alertname": rule["alert"]}
    return {
        "name": rule["alert"],
        "interval": "1m",
        "input_series": [
            {"series": series(name, {}), "values": values} for name, values in case.series.items()
        ],
        "alert_rule_test": [
            asked | {"eval_time": case.quiet, "exp_alerts": []},
            asked | {"eval_time": case.firing, "exp_alerts": [fired]},
        ],
    }


def test_promtool_finds_nothing_wrong_with_the_files() -> None:
    run(["promtool", "check", "config", "prometheus.yml"], cwd=RULES)


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == {rule["alert"] for rule in rules("alerts.yml")}


@pytest.mark.parametrize("rule", rules("alerts.yml"), ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_quiet_and_then_fires(rule: dict[str, Any], tmp_path: Path) -> None:
    tests = tmp_path / "test.yml"
    content = {
        "rule_files": [str(RULES / "alerts.yml")],
        "tests": [promtool_test(rule, CASES[rule["alert"]])],
    }
    tests.write_text(yaml.safe_dump(content), encoding="utf-8")
    run(["promtool", "test", "rules", tests])


def test_the_recorded_ratios_are_right(tmp_path: Path) -> None:
    mount = TARGET | MOUNT
    mount.pop("job")
    labels = ",".join(f'{key}="{value}"' for key, value in sorted(mount.items()))
    read = "tierfs_read_bytes_total"
    content = {
        "rule_files": [str(RULES / "recording.yml")],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series(f'{read}{{tier="flash"}}', {}), "values": "0+300x10"},
                    {"series": series(f'{read}{{tier="disk"}}', {}), "values": "0+100x10"},
                    {"series": series("tierfs_flash_used_bytes", {}), "values": "40x10"},
                    {
                        "series": series('tierfs_tier_size_bytes{tier="flash"}', {}),
                        "values": "80x10",
                    },
                ],
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "10m",
                        "exp_samples": [{"labels": f"{name}{{{labels}}}", "value": value}],
                    }
                    for name, value in (
                        ("tierfs:read_from_flash:ratio5m", 0.75),
                        ("tierfs:flash_used:ratio", 0.5),
                    )
                ],
            }
        ],
    }
    tests = tmp_path / "test.yml"
    tests.write_text(yaml.safe_dump(content), encoding="utf-8")
    run(["promtool", "test", "rules", tests])
