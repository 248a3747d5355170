"""A Prometheus that scraped a mount under load has an answer for every panel of the dashboard."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.monitoring.prometheus import RULES, Prometheus
from tests.support.exporter import listen, scrape_text
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import REPOSITORY, run, start, wait_until

DASHBOARD = REPOSITORY / "configs/grafana/tierfs.json"
VARIABLES = {
    "$__rate_interval": "6s",
    "$__range": "1m",
    "$instance": ".*",
    "$mountpoint": ".*",
}

pytestmark = [pytest.mark.once, pytest.mark.long]


def panels() -> list[Any]:
    """Each query of the dashboard, by the title of its panel."""
    return [
        pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mount, Prometheus]]:
    """A mount under load, scraped for some seconds."""
    home = tmp_path_factory.mktemp("monitored")
    with contextlib.ExitStack() as stack:
        mount = MakeMount(home, stack, 100).formatted()
        policy = "version: 1\nrules: [{name: cold, match: {path: /**/renamed}, head: none}]\n"
        (mount.volume_file.parent / "policy.yaml").write_text(policy)
        mount.configure("policy", "policy.yaml")
        listen(mount)
        mount.mount()
        server = Prometheus(home, mount.metrics_port)
        stack.callback(server.stop)
        load = start([sys.executable, "-m", "tests.monitoring.load", mount.path])
        stack.callback(load.communicate)
        stack.callback(load.kill)
        for name in ("moved_bytes", "moves"):
            wait_until(
                lambda name=name: any(  # type: ignore[misc]
                    float(one["value"][1]) > 0
                    for one in server.query(f"rate(tierfs_{name}_total[6s])")
                ),
                what=f"tierfs_{name}_total grows in Prometheus",
                timeout=40,
            )
        yield mount, server


@pytest.mark.parametrize("expression", panels())
def test_a_panel_shows_something(loaded: tuple[Mount, Prometheus], expression: str) -> None:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    assert loaded[1].query(expression)


@pytest.mark.parametrize(
    "recorded", re.findall(r"record: (\S+)", (RULES / "recording.yml").read_text())
)
def test_a_recording_rule_records(loaded: tuple[Mount, Prometheus], recorded: str) -> None:
    wait_until(lambda: bool(loaded[1].query(recorded)), what=f"{recorded} is recorded")


def test_every_sample_says_of_which_mount_it_is(loaded: tuple[Mount, Prometheus]) -> None:
    mount, server = loaded
    mine = f'mountpoint="{mount.path}",volume="{mount.volume_file}"'
    [count] = server.query('count({__name__=~"tierfs_.*",__name__!~"tierfs:.*"})')
    [labelled] = server.query(f'count({{__name__=~"tierfs_.*",__name__!~"tierfs:.*",{mine}}})')
    assert count["value"][1] == labelled["value"][1]
    [build] = server.query("tierfs_build_info")
    assert build["metric"]["version"]


def test_promtool_finds_nothing_wrong_with_the_page(loaded: tuple[Mount, Prometheus]) -> None:
    # prometheus_client calls the times of creation gauges without a help text.
    page = re.sub(r"(?m)^.*_created.*\n", "", scrape_text(loaded[0]))
    told = run(["promtool", "check", "metrics"], stdin=page)
    assert (told.stdout, told.stderr) == ("", "")
