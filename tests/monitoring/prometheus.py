"""A real Prometheus (Debian's) with the configuration and the rules of `configs/prometheus`."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from tests.support.proc import REPOSITORY, start

RULES = REPOSITORY / "configs/prometheus"
AT_ONCE = "1s"
"""How often a server scrapes and evaluates, and how long a condition must hold for an alert."""


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    groups = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


class Prometheus:
    """A server that scrapes the daemons at some ports every second.

    Its alerts are those of the file in all but ``for``, which is a second.
    """

    def __init__(self, directory: Path, *ports: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        config = yaml.safe_load((RULES / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": AT_ONCE, "evaluation_interval": AT_ONCE}
        config["rule_files"] = [
            _impatient(RULES / name, directory) for name in config["rule_files"]
        ]
        targets = [f"127.0.0.1:{port}" for port in ports]
        config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
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

    def firing(self, alert: str) -> list[dict[str, str]]:
        """The labels of an alert, once for each mount or target for which it fires."""
        found = self.query(f'ALERTS{{alertname="{alert}",alertstate="firing"}}')
        return [one["metric"] for one in found]

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)


def _impatient(file: Path, directory: Path) -> str:
    """A copy of a file of rules whose alerts do not wait."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for group in content["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = AT_ONCE
    copy = directory / file.name
    copy.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(copy)
