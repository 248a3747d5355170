"""The section ``fast_path`` of a volume file."""

from __future__ import annotations

import pytest

from tests.policy.loading import CONFIGS, GOOD, Loader
from tierfs.base.units import MIB
from tierfs.policy.fast_path import ANY_LATENCY, AUTO, AUTO_LATENCY, FastPathSettings
from tierfs.policy.volume_file import load_volume_file

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


def test_what_is_left_out_has_the_documented_default(loader: Loader) -> None:
    assert loader.load(GOOD).fast_path == DOCUMENTED
    assert loader.load(f"{GOOD}fast_path: {{}}\n").fast_path == DOCUMENTED
    assert load_volume_file(CONFIGS / "volume.example.yaml").fast_path == DOCUMENTED


def test_every_key_is_read(loader: Loader) -> None:
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
def test_mistakes_are_explained(loader: Loader, section: str, said: str) -> None:
    (complaint,) = loader.complaints(f"{GOOD}fast_path: {section}\n")
    assert said in complaint
