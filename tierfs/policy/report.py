"""An explanation as a record for JSON, and its lines for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tierfs.base.durations import SECOND
from tierfs.base.extents import WHOLE_FILE

if TYPE_CHECKING:
    from tierfs.policy.explain import Explanation, RuleReport
    from tierfs.policy.settings import Settings


def record(explanation: Explanation) -> dict[str, Any]:
    """What `tierfs policy explain --json` prints; bytes and seconds. ``lines`` is for people."""
    decision = explanation.decision
    return {
        "rule": decision.rule,
        "settings": _settings(decision.settings),
        "rules": [asdict(report) for report in explanation.rules],
        "lines": lines(explanation),
    }


def lines(explanation: Explanation) -> list[tuple[str, str]]:
    """Name and verdict of each rule, and the one that holds with what it sets."""
    decision = explanation.decision
    rows = [(report.rule, _verdict(report)) for report in explanation.rules]
    return [*rows, (f"=> {decision.rule or 'the defaults'}", decision.settings.told())]


def prefix_record(prefix: int) -> int | str:
    """A number of bytes from the start, or ``all``."""
    return "all" if prefix == WHOLE_FILE else prefix


def _verdict(report: RuleReport) -> str:
    reasons = "; ".join(finding.told() for finding in report.findings)
    return f"{report.verdict}: {reasons}" if reasons else report.verdict


def _settings(settings: Settings) -> dict[str, Any]:
    promote = settings.promote
    return {
        "head": prefix_record(settings.head),
        "pin": settings.pin,
        "mirror": settings.mirror,
        "promote": promote
        and {
            "reads": promote.reads,
            "within_s": promote.within / SECOND,
            "to": prefix_record(promote.to),
        },
        "evict": settings.evict,
        "class": settings.eviction_class,
    }
