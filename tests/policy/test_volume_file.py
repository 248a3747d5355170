from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.loading import CONFIGS, GOOD, Loader
from tierfs.base.errors import ConfigError
from tierfs.base.units import GIB, KIB, MIB
from tierfs.policy.volume_file import LogFormat, LogSettings, load_volume_file


def test_the_example_loads_with_every_key() -> None:
    settings = load_volume_file(CONFIGS / "volume.example.yaml")
    assert settings.flash == Path("/nvme/images")
    assert settings.disk == Path("/raid/images")
    assert settings.index == Path("/nvme/images/index.db")
    assert settings.head == 64 * KIB
    assert settings.policy == CONFIGS / "policy.yaml"
    assert settings.metrics_listen == ("127.0.0.1", 9469)
    assert settings.log == LogSettings("text", "info", Path("/var/log/tierfs/images.log"))


def test_what_is_left_out_has_the_documented_default(loader: Loader) -> None:
    settings = loader.load(GOOD)
    assert settings.path == loader.path
    assert settings.index == Path("/nvme/images/index.db")
    assert settings.head == 64 * KIB
    assert settings.policy is None
    assert settings.metrics_listen is None
    assert settings.log == LogSettings("text", "info", None)


def test_empty_sections_mean_their_defaults(loader: Loader) -> None:
    assert loader.load(f"{GOOD}metrics: {{}}\nlog: {{}}\n") == loader.load(GOOD)


def test_relative_paths_start_from_the_file(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.path.write_text(
        "version: 1\nflash: fast\ndisk: ../slow\nindex: i.db\npolicy: p.yaml\nlog: {file: l}\n"
    )
    home = loader.path.parent
    monkeypatch.chdir(home.parent)
    settings = load_volume_file(Path(home.name) / "volume.yaml")
    assert settings.path == loader.path
    assert settings.flash == home / "fast"
    assert settings.disk == home / "../slow"
    assert settings.index == home / "i.db"
    assert settings.policy == home / "p.yaml"
    assert settings.log.file == home / "l"


def test_the_memory_of_tiering(loader: Loader) -> None:
    assert loader.load(GOOD).tiering_memory == 32 * MIB
    assert loader.load(f"{GOOD}tiering: {{memory: 1MiB}}\n").tiering_memory == MIB
    with pytest.raises(ConfigError, match='"memory" must be 64KiB to 64GiB, not "1KiB"'):
        loader.load(f"{GOOD}tiering: {{memory: 1KiB}}\n")


def test_a_tilde_is_the_home_directory(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = loader.load("version: 1\nflash: ~/fast\ndisk: ~root/slow\n")
    assert settings.flash == Path("/home/ada/fast")
    assert settings.disk == Path("~root/slow").expanduser()


@pytest.mark.parametrize(
    ("written", "head"),
    [("4KiB", 4 * KIB), ("1GiB", GIB), ("65536", 64 * KIB), ("0.5 MiB", 512 * KIB)],
)
def test_head_is_a_size(loader: Loader, written: str, head: int) -> None:
    assert loader.load(f"{GOOD}head: {written}\n").head == head


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:9469", ("127.0.0.1", 9469)),
        ("localhost:1", ("localhost", 1)),
        ("node-7.cluster.example:65535", ("node-7.cluster.example", 65535)),
        ('"[::1]:9469"', ("::1", 9469)),
        ("'[fd00:0::1]:9469'", ("fd00::1", 9469)),
    ],
)
def test_metrics_listen_is_a_host_and_a_port(
    loader: Loader, written: str, address: tuple[str, int]
) -> None:
    assert loader.load(f"{GOOD}metrics:\n  listen: {written}\n").metrics_listen == address


@pytest.mark.parametrize("name", ["text", "json", "journald"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_log_format_and_level(loader: Loader, name: LogFormat, level: str) -> None:
    settings = loader.load(f"{GOOD}log: {{format: {name}, level: {level}}}\n")
    assert settings.log == LogSettings(name, level, None)


def test_windows_line_ends_and_a_byte_order_mark_are_read(loader: Loader) -> None:
    text = "\ufeff" + GOOD.replace("\n", "\r\n")
    assert loader.load(text) == loader.load(GOOD)
