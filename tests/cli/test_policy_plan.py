"""What ``tierfs policy plan`` prints of an answer; no mount is needed."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from tierfs.cli.main import main
from tierfs.common.units import GIB

PLAN: dict[str, Any] = {
    "policy": "/etc/p.yaml",
    "files": 1000,
    "flash_capacity": 100 * GIB,
    "flash_used": 80 * GIB,
    "high_watermark": 85 * GIB,
    "low_watermark": 75 * GIB,
    "to_free": 0,
    "moves": [],
}


def told(capsys: pytest.CaptureFixture[str], **changed: object) -> str:
    with (
        patch("tierfs.cli.policy.mounted.mountpoint_of", lambda given: given),
        patch("tierfs.cli.policy.mounted.ask", lambda *_: {**PLAN, **changed}),
    ):
        assert main(["policy", "plan", "/mnt/images"]) == 0
    return capsys.readouterr().out


def promotion(size: int) -> dict[str, object]:
    return {"move": "promote", "rule": "a", "reason": "pin", "files": 3, "bytes": size}


def test_nothing_to_move(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys).endswith("\n\nnothing to move\n")


def test_what_fits_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, moves=[promotion(5 * GIB)]).endswith("  pin         3   5GiB\n")


def test_what_does_not_fit_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, moves=[promotion(7 * GIB)]).endswith(
        "\n\n5GiB is free below the high watermark: "
        "the rest is promoted when other files leave flash\n"
    )


def test_why_files_wait_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    misplaced = {"room": {"files": 10, "bytes": 5 * GIB}}
    assert told(capsys, misplaced=misplaced).endswith(
        "\n\nwaiting for  files  bytes\nroom            10   5GiB\n"
    )
