"""A Prometheus that scraped a mount under load has an answer for every panel of the dashboard."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.exporter import listen, scrape_text
from tests.support.fixtures import MakeMount
from tests.support.mounting import Mount
from tests.support.proc import REPOSITORY, run, start, wait_until

DASHBOARD = REPOSITORY / "configs/grafana/tierfs.json"
RULES = REPOSITORY / "configs/prometheus"
VARIABLES = {
    "$__rate_interval": "6s",
    "$__range": "1m",
    "$instance": ".*",
    "$mountpoint": ".*",
}

pytestmark = pytest.mark.once


class Prometheus:
    """A server that scrapes one mount every second."""

    def __init__(self, directory: Path, mount: Mount) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
        target = f"127.0.0.1:{mount.metrics_port}"
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        path = directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._process = start(
            [
                "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            cwd=directory,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; none while the server starts.

        Raises AssertionError when the expression is refused.
        """
        form = urllib.parse.urlencode({"query": expression})
        url = f"http://127.0.0.1:{self._port}/api/v1/query?{form}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                return []
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        except OSError:
            return []
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


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
        server = Prometheus(home, mount)
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
