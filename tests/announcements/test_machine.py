"""What windows may take of memory, by the machine or the tightest control group."""

from __future__ import annotations

from pathlib import Path

from tierfs.announcements.machine import memory_for_windows

MIB = 1024 * 1024


def machine(home: Path, group: str, limits: dict[str, str]) -> int:
    """Bytes on a machine with 1024 MiB, for a process in ``group``."""
    proc, groups = home / "proc", home / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {1024 * 1024} kB\nMemFree: 1 kB\n")
    (proc / "self/cgroup").write_text(group)
    for path, limit in limits.items():
        (groups / path).mkdir(parents=True, exist_ok=True)
        (groups / path / "memory.max").write_text(limit)
    return memory_for_windows(proc, groups)


def test_a_quarter_of_the_machine(tmp_path: Path) -> None:
    assert machine(tmp_path, "0::/\n", {}) == 256 * MIB


def test_a_limit_above(tmp_path: Path) -> None:
    limits = {"a/b": "max\n", "a": f"{100 * MIB}\n"}
    assert machine(tmp_path, "7:cpu:/x\n0::/a/b\n", limits) == 25 * MIB


def test_groups_of_the_first_version_are_left_alone(tmp_path: Path) -> None:
    assert machine(tmp_path, "7:memory:/a\n", {"a": "4096\n"}) == 256 * MIB
