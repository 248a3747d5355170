"""What a volume file says, and that its reference page says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.policy.loading import CONFIGS, GOOD, Loader
from tierfs.common.errors import ConfigError
from tierfs.common.units import GIB, KIB, MIB
from tierfs.policy.schema import Schema
from tierfs.policy.volume_file import (
    ANY_LATENCY,
    AUTO,
    AUTO_LATENCY,
    VOLUME,
    AccessLogSettings,
    FastPathSettings,
    LogFormat,
    LogSettings,
    load_volume_file,
)


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


@pytest.mark.parametrize(("written", "memory"), [("auto", None), ("off", 0), ("64MiB", 64 * MIB)])
def test_the_memory_for_training_jobs(loader: Loader, written: str, memory: int | None) -> None:
    assert loader.load(GOOD).training_memory is None
    assert loader.load(f"{GOOD}training: {{memory: {written}}}\n").training_memory == memory


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


def test_nothing_is_recorded_unless_asked_to(loader: Loader) -> None:
    assert loader.load(GOOD).access_log is None


def test_every_key_of_the_access_log_is_read(loader: Loader) -> None:
    home = loader.path.parent
    plain = loader.load(f"{GOOD}access_log: {{file: a}}\n").access_log
    assert plain == AccessLogSettings(home / "a", 64 * MIB)
    sized = loader.load(f"{GOOD}access_log: {{file: /a, size: 1MiB}}\n").access_log
    assert sized == AccessLogSettings(Path("/a"), MIB)
    assert load_volume_file(CONFIGS / "volume.example.yaml").access_log == AccessLogSettings(
        Path("/var/log/tierfs/images.access"), 64 * MIB
    )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{size: 1MiB}", '4:13: "file" is missing from "access_log"'),
        ("{file: a, size: 1KiB}", '4:29: "size" must be 1MiB to 1TiB, not "1KiB"'),
        ("{file: a, siez: 1MiB}", 'unknown key "siez" in "access_log"; did you mean "size"?'),
        ("{file: volume.yaml}", '4:20: "access_log.file" is the same file as the volume file'),
        ("{file: /nvme}", '"access_log.file" must be a file, but "flash" makes /nvme a directory'),
        ("a", '4:13: "access_log" must hold keys of its own'),
    ],
)
def test_mistakes_in_the_access_log_are_explained(loader: Loader, section: str, said: str) -> None:
    lines = loader.diagnostics(f"{GOOD}access_log: {section}\n")
    assert any(said in line for line in lines), lines


DOCUMENTED = FastPathSettings(
    enabled=True,
    memory=128 * MIB,
    threads=AUTO,
    spin_us=200,
    disk_threads=32,
    io_uring=True,
    prefetch_names=True,
    cpu_latency_us=AUTO_LATENCY,
)


def test_a_fast_path_that_is_left_out_has_the_documented_defaults(loader: Loader) -> None:
    assert loader.load(GOOD).fast_path == DOCUMENTED
    assert loader.load(f"{GOOD}fast_path: {{}}\n").fast_path == DOCUMENTED
    assert load_volume_file(CONFIGS / "volume.example.yaml").fast_path == DOCUMENTED


def test_every_key_of_the_fast_path_is_read(loader: Loader) -> None:
    section = "{enabled: false, memory: 1MiB, threads: 3, spin: 0us, "
    section += "disk_threads: 256, io_uring: false, prefetch_names: false, cpu_latency: 2us}"
    assert loader.load(f"{GOOD}fast_path: {section}\n").fast_path == FastPathSettings(
        enabled=False,
        memory=MIB,
        threads=3,
        spin_us=0,
        disk_threads=256,
        io_uring=False,
        prefetch_names=False,
        cpu_latency_us=2,
    )


def test_cores_may_be_left_alone(loader: Loader) -> None:
    settings = loader.load(f"{GOOD}fast_path: {{cpu_latency: any}}\n").fast_path
    assert settings.cpu_latency_us == ANY_LATENCY


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{enabld: true}", 'unknown key "enabld" in "fast_path"; did you mean "enabled"?'),
        ("{enabled: yes}", '"enabled" must be true or false, not "yes"'),
        ("{memory: 1000KiB}", '"memory" must be 1MiB to 1TiB, not "1000KiB"'),
        ("{threads: atuo}", 'not "atuo"; did you mean "auto"?'),
        ("{threads: 17}", '"threads" must be a whole number from 1 to 16, not "17"'),
        ("{spin: 200}", 'must be a number of microseconds, not "200"; write "200us"'),
        ("{spin: 1ms}", '"spin" must be a number of microseconds, not "1ms"'),
        ("{spin: 10001us}", '"spin" must be 0us to 10000us, not "10001us"'),
        ("{disk_threads: 0}", '"disk_threads" must be a whole number from 1 to 256, not "0"'),
        ("{cpu_latency: 1001us}", '"cpu_latency" must be 0us to 1000us, not "1001us"'),
        ("{cpu_latency: ani}", 'not "ani"; did you mean "any"?'),
        ("off", '"fast_path" must hold keys of its own'),
    ],
)
def test_mistakes_in_the_fast_path_are_explained(loader: Loader, section: str, said: str) -> None:
    (diagnostic,) = loader.diagnostics(f"{GOOD}fast_path: {section}\n")
    assert said in diagnostic


PAGE = (CONFIGS.parent / "docs" / "reference" / "volume-file.md").read_text()


def keys(table: Schema, prefix: str = "") -> list[str]:
    """Dotted names of the table's keys, those of tables inside it included."""
    found: list[str] = []
    for field in table.fields:
        name = prefix + field.name
        nested = field.reader if isinstance(field.reader, Schema) else None
        found += keys(nested, f"{name}.") if nested else [name]
    return found


def test_every_key_has_its_row_in_the_order_of_the_table() -> None:
    assert re.findall(r"(?m)^\| `([a-z._]+)` \| (?:yes|no) \|", PAGE) == keys(VOLUME)


@pytest.mark.parametrize("block", re.findall(r"(?s)```yaml\n(.*?)```", PAGE))
def test_the_examples_of_the_page_load(loader: Loader, block: str) -> None:
    assert loader.load(block).head == 64 * 1024


def test_the_mistakes_shown_are_what_is_said(loader: Loader) -> None:
    text = "version: 1\nflsh: /f\ndisk: /d\nhead: 5000\n\nmetrics: {listen: 9469}\n"
    (shown,) = re.findall(r"(?s)```\n(volume\.yaml:.*?)```", PAGE)
    assert [f"volume.yaml:{line}" for line in loader.diagnostics(text)] == shown.splitlines()


def test_the_schema_of_the_keys_accepts_the_example() -> None:
    schema = VOLUME.json_schema()
    Draft7Validator.check_schema(schema)
    example = yaml.safe_load((CONFIGS / "volume.example.yaml").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(example)] == []
