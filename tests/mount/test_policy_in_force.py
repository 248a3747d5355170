"""The last good policy holds, whatever becomes of its file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.guards.logs import ExpectLog
from tests.policy.loading import Loader
from tierfs.common.errors import ConfigError
from tierfs.common.metrics import Metrics
from tierfs.daemon.policy import (
    LINES_SHOWN,
    READ_HERE,
    PolicyInForce,
    apply_policy,
    policy_in_force,
    policy_status,
)
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy

pytestmark = pytest.mark.once

KIB = 1024
REFUSED = "the last good one stays in force"


def text(head: str) -> str:
    return f"version: 1\nhead: {head}\n"


class Case:
    """A policy file, its mount's policy, and what was applied; the clock ticks at each question."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "policy.yaml"
        self.path.write_text(text("64KiB"))
        self.metrics = Metrics()
        self.applied: list[int] = []
        self.during: Callable[[], None] = lambda: None
        self._ticks = itertools.count(1)
        self.policy = PolicyInForce(self.path, self.read, self.metrics, lambda: next(self._ticks))
        self.policy.attach(lambda policy: self.applied.append(policy.defaults.head // KIB))

    def read(self) -> Policy:
        policy = load_policy(self.path)
        self.during()
        return policy

    def save(self, content: str) -> None:
        self.path.write_text(content)

    def looks(self) -> list[str | None]:
        """What came of three looks."""
        return [self.policy.poll() for _ in range(3)]

    def sample(self, name: str, result: str | None = None) -> float | None:
        labels = {} if result is None else {"result": result}
        return self.metrics.registry.get_sample_value(f"tierfs_policy_{name}", labels)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_what_is_in_force_at_first(case: Case) -> None:
    assert case.applied == [64]
    assert case.looks() == [None, None, None]
    assert case.policy.state.in_force[1:] == (1, "mount")
    assert case.sample("loads_total", "applied") == 1
    assert case.sample("valid") == 1
    assert case.sample("loaded_timestamp_seconds") == 1e-9


def test_what_is_saved_is_applied_once(case: Case) -> None:
    case.save(text("128KiB"))
    assert case.looks() == [None, "applied", None]
    assert case.applied == [64, 128]
    assert case.policy.state.in_force[1:] == (2, "save")
    assert case.policy.policy.defaults.head == 128 * KIB


def test_a_bad_first_policy_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "policy.yaml"
    bad.write_text("version: 1\nhaed: 1\nmirror: x\n")
    with pytest.raises(ConfigError) as caught:
        PolicyInForce(bad, lambda: load_policy(bad), Metrics())
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        f"{bad}:2:1",
        f"{bad}:3:9",
    ]


def test_a_bad_file_changes_nothing_and_says_so(case: Case, expect_log: ExpectLog) -> None:
    expect_log(rf"(?s)\(save\).*{REFUSED}:\n.*policy.yaml:2:1: .*\n.*policy.yaml:3:9: ")
    case.save("version: 1\nhaed: 1\nmirror: x\n")
    assert case.looks() == [None, "refused", None]
    assert case.applied == [64]
    in_force, problems = case.policy.state
    assert in_force.since == 1
    assert problems is not None
    assert (len(problems.lines), problems.since) == (2, 2)
    assert case.sample("valid") == 0
    assert case.sample("loads_total", "refused") == 1
    assert case.sample("loaded_timestamp_seconds") == 1e-9


def test_the_way_back_to_what_is_in_force_is_no_change(case: Case, expect_log: ExpectLog) -> None:
    expect_log(REFUSED)
    case.save("version: 2\n")
    assert case.policy.reload("SIGHUP")[0] == "refused"
    case.save(text("64KiB") + "# mended\n")
    assert case.looks() == [None, "unchanged", None]
    assert case.applied == [64]
    assert case.policy.state.problems is None
    assert case.policy.state.in_force.since == 1
    assert case.sample("valid") == 1


def test_problems_date_from_the_first_bad_save(case: Case, expect_log: ExpectLog) -> None:
    expect_log(REFUSED)
    for content in ("version: 2\n", "version: 1\nhaed: 1\n"):
        case.save(content)
        assert case.looks()[1] == "refused"
    problems = case.policy.state.problems
    assert problems is not None
    assert problems.since == 2
    assert "haed" in problems.lines[0]


def test_the_same_mistakes_are_logged_once(case: Case, expect_log: ExpectLog) -> None:
    expect_log(REFUSED)
    for content in ("version: 2\n", "version: 2\n# saved again\n"):
        case.save(content)
        assert case.looks()[1] == "refused"
    assert len([one for one in expect_log.records if REFUSED in one.getMessage()]) == 1
    case.policy.reload("SIGHUP")
    assert len([one for one in expect_log.records if REFUSED in one.getMessage()]) == 2


def test_a_file_that_is_gone_is_a_problem_until_it_is_back(
    case: Case, expect_log: ExpectLog
) -> None:
    expect_log(r"(?s)cannot be read: No such file or directory; check the name")
    case.path.unlink()
    assert case.looks() == [None, "refused", None]
    case.save(text("128KiB"))
    assert case.looks() == [None, "applied", None]
    assert case.applied == [64, 128]


@pytest.mark.parametrize("what", ["directory", "loop", "large", "binary"])
def test_what_is_no_policy_file_at_all(case: Case, what: str, expect_log: ExpectLog) -> None:
    expect_log(REFUSED)
    case.path.unlink()
    if what == "directory":
        case.path.mkdir()
    elif what == "loop":
        case.path.symlink_to(case.path.name)
    else:
        case.path.write_bytes(b"#" * 10_000_000 if what == "large" else b"\xff\0")
    assert case.looks() == [None, "refused", None]
    assert case.applied == [64]


def test_a_file_that_changes_while_it_is_read_is_read_again(case: Case) -> None:
    texts = iter([text("256KiB"), text("512KiB")])

    def save_another() -> None:
        if content := next(texts, None):
            case.save(content + f"# {len(content)}\n" * len(content))

    case.during = save_another
    case.save(text("128KiB"))
    assert case.policy.reload("apply")[0] == "applied"
    assert case.applied == [64, 512]


def test_a_file_that_never_rests_is_refused(case: Case, expect_log: ExpectLog) -> None:
    expect_log("changes again and again")
    lengths = itertools.count(1)
    case.during = lambda: case.save(text("128KiB") + "#" * next(lengths))
    assert case.policy.reload("apply")[0] == "refused"
    assert case.applied == [64]


def test_a_policy_that_cannot_be_applied_is_not_in_force(case: Case, expect_log: ExpectLog) -> None:
    expect_log("failed unexpectedly")
    expect_log("cannot be put in force: KeyError")

    def fail(policy: Policy) -> None:
        if policy.defaults.head != 64 * KIB:
            raise KeyError("a bug")

    case.policy.attach(fail)
    case.save(text("128KiB"))
    assert case.policy.reload("apply")[0] == "refused"
    assert case.policy.policy.defaults.head == 64 * KIB
    assert case.sample("valid") == 0


def test_reloads_come_one_after_the_other(case: Case) -> None:
    under_way: list[str] = []
    overlaps: list[str] = []
    meeting = threading.Barrier(8)

    def watch() -> None:
        under_way.append("")
        overlaps.extend(under_way[1:])
        threading.Event().wait(0.01)
        under_way.pop()

    def reload() -> None:
        meeting.wait()
        case.policy.reload("apply")

    case.during = watch
    case.save(text("128KiB"))
    threads = [threading.Thread(target=reload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == []
    assert case.applied == [64, 128]
    assert case.sample("loads_total", "unchanged") == 7


def test_nothing_is_put_in_force_after_the_end(case: Case) -> None:
    case.during = case.policy.stop
    case.save(text("128KiB"))
    case.policy.reload("SIGHUP")
    assert case.applied == [64]


def test_a_file_in_the_mount_itself_is_refused(tmp_path: Path, expect_log: ExpectLog) -> None:
    expect_log("is inside the mount that it is for")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "policy.yaml").write_text(text("64KiB"))
    loader = Loader(tmp_path)
    settings = loader.load("version: 1\nflash: f\ndisk: d\nhead: 8KiB\npolicy: policy.yaml\n")
    policy = policy_in_force(settings, tmp_path / "mnt", Metrics())
    assert policy is not None
    (tmp_path / "policy.yaml").rename(tmp_path / "mnt/policy.yaml")
    (tmp_path / "policy.yaml").symlink_to("mnt/policy.yaml")
    assert policy.reload("apply")[0] == "refused"


def test_the_head_of_the_volume_is_the_policy_s_default(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    settings = Loader(tmp_path).load("version: 1\nflash: f\ndisk: d\npolicy: policy.yaml\n")
    policy = policy_in_force(replace(settings, head=8 * KIB), tmp_path / "mnt", Metrics())
    assert policy is not None
    assert policy.policy.defaults.head == 8 * KIB


def test_a_volume_without_a_policy(tmp_path: Path) -> None:
    metrics = Metrics()
    settings = Loader(tmp_path).load("version: 1\nflash: f\ndisk: d\n")
    assert policy_in_force(settings, tmp_path / "mnt", metrics) is None
    assert metrics.registry.get_sample_value("tierfs_policy_valid") == 1
    assert apply_policy(None) == {"policy": None}


def test_a_status_has_the_first_lines_and_an_answer_all(case: Case, expect_log: ExpectLog) -> None:
    expect_log(REFUSED)
    keys = "".join(f"wrong{number}: 1\n" for number in range(LINES_SHOWN + 3))
    case.save(f"version: 1\n{keys}")
    answer = apply_policy(case.policy)
    assert answer["result"] == "refused"
    assert len(answer["problems"]) == LINES_SHOWN + 3
    status = policy_status(case.policy)
    assert answer["policy"] == status
    assert status["problems"]["lines"] == answer["problems"][:LINES_SHOWN]
    assert status["problems"]["count"] == LINES_SHOWN + 3
    assert (status["path"], status["by"], status["since"]) == (str(case.path), "mount", 1e-9)


def long_text(head: str) -> str:
    """A policy of more bytes than the daemon reads itself."""
    rules = (
        f'- {{name: r{number}, match: {{path: "/set{number}/**", xattr: {{user.a: "x*"}}}},'
        f" promote: {{reads: 3, within: 1h}}}}\n"
        for number in range(READ_HERE // 64)
    )
    return f"{text(head)}rules:\n{''.join(rules)}"


def test_a_long_policy_is_read_by_another_process_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect_log: ExpectLog
) -> None:
    expect_log(REFUSED)
    path = tmp_path / "policy.yaml"
    path.write_text(long_text("64KiB"))
    settings = Loader(tmp_path).load("version: 1\nflash: f\ndisk: d\npolicy: policy.yaml\n")
    policy = policy_in_force(settings, tmp_path / "mnt", Metrics())
    assert policy is not None
    path.write_text(long_text("128KiB"))
    wanted = load_policy(path)
    with monkeypatch.context() as patch:
        patch.setattr("tierfs.policy.tier_policy.load_document", unexpected)
        assert policy.reload("apply")[0] == "applied"
        assert policy.reload("apply")[0] == "unchanged"
    assert policy.policy == wanted
    path.write_text(long_text("128kib") + "wrong: 1\n")
    result, state = policy.reload("apply")
    assert result == "refused"
    assert state.problems is not None
    assert 'unknown key "wrong"' in state.problems.lines[-1]
    assert policy.policy == wanted


def unexpected(*_: object, **__: object) -> Policy:
    message = "read in this process"
    raise AssertionError(message)
