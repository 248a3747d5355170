from __future__ import annotations

import pwd
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.policy.loading import CONFIGS, ISSUE, PolicyLoader
from tests.policy.policy_page import tables
from tierfs.common.errors import ConfigError
from tierfs.common.extents import WHOLE_FILE
from tierfs.common.units import DAY, GIB, KIB, MIB
from tierfs.policy.model import Flash, Mark, Mover, Policy, Promote, Settings
from tierfs.policy.tier_policy import load_policy

HOUR = DAY // 24

DEFAULTS = Settings(
    head=64 * KIB,
    pin=False,
    mirror="async",
    promote=None,
    evict="heat",
    eviction_class="standard",
    eviction_rank=0,
)


def rules(policy: Policy) -> dict[str, Settings]:
    return {rule.name: rule.settings for rule in policy.rules}


def test_what_is_left_out_has_the_documented_default(policies: PolicyLoader) -> None:
    policy = policies.load("version: 1\n")
    assert policy == Policy(
        path=policies.path,
        defaults=DEFAULTS,
        flash=Flash(Mark(85.0), Mark(75.0), GIB, ("standard",)),
        mover=Mover(200 * MIB, None, 2, (), 50.0),
        rules=(),
    )


def test_the_head_comes_from_the_volume_unless_the_policy_says_otherwise(
    policies: PolicyLoader,
) -> None:
    policies.load("version: 1\nrules: [{name: a, match: {owner: 0}}]\n")
    policy = load_policy(policies.path, head=MIB)
    assert (policy.defaults.head, policy.rules[0].settings.head) == (MIB, MIB)
    policies.load("version: 1\nhead: 8KiB\n")
    assert load_policy(policies.path, head=MIB).defaults.head == 8 * KIB


def test_the_fixed_shape_loads(policies: PolicyLoader) -> None:
    policy = policies.load(ISSUE)
    (window,) = policy.mover.windows
    assert policy.flash == Flash(Mark(85.0), Mark(75.0), 5 * GIB, ("standard",))
    assert (policy.mover.rate, policy.mover.concurrency, window.text) == (
        200 * MIB,
        2,
        "22:00-06:00",
    )
    assert rules(policy) == {
        "active-screens": replace(DEFAULTS, head=WHOLE_FILE, pin=True),
        "archive": replace(DEFAULTS, head=0),
        "warm-up-fast": replace(DEFAULTS, head=128 * KIB, promote=Promote(3, HOUR, WHOLE_FILE)),
    }


def test_the_example_loads_with_every_key() -> None:
    policy = load_policy(CONFIGS / "policy.example.yaml")
    promote = Promote(5, HOUR, MIB)
    assert policy.defaults == replace(DEFAULTS, promote=promote, eviction_rank=1)
    assert policy.flash == Flash(
        Mark(85.0), Mark(75.0), 5 * GIB, ("scratch", "standard", "reference")
    )
    assert [window.text for window in policy.mover.windows] == [
        "mon-fri 22:00-06:00",
        "sat,sun 00:00-24:00",
    ]
    assert (policy.mover.operations, policy.mover.suspend_on_errors) == (500, 50.0)
    assert rules(policy) == {
        "active-screens": replace(
            DEFAULTS, head=WHOLE_FILE, pin=True, eviction_class="reference", eviction_rank=2
        ),
        "archive": replace(DEFAULTS, head=0, eviction_rank=1),
        "scratch": replace(
            DEFAULTS, mirror="never", promote=promote, evict="lru", eviction_class="scratch"
        ),
        "warm-up-fast": replace(
            DEFAULTS, head=128 * KIB, promote=Promote(3, HOUR, WHOLE_FILE), eviction_rank=1
        ),
        "large": replace(DEFAULTS, eviction_rank=1),
    }


def test_the_minimal_example_loads() -> None:
    policy = load_policy(CONFIGS / "policy.minimal.yaml")
    assert rules(policy) == {"archive": replace(DEFAULTS, head=0)}


def test_the_example_shows_every_key() -> None:
    text = (CONFIGS / "policy.example.yaml").read_text()
    shown = set(re.findall(r"(\w+):", text))
    assert {field.name for table in tables() for field in table.fields} <= shown


@pytest.mark.parametrize(
    ("more", "read", "value"),
    [
        ("head: all", lambda policy: policy.defaults.head, WHOLE_FILE),
        ("head: none", lambda policy: policy.defaults.head, 0),
        ("head: 1GiB", lambda policy: policy.defaults.head, GIB),
        ("head: 65536", lambda policy: policy.defaults.head, 64 * KIB),
        ("pin: True", lambda policy: policy.defaults.pin, True),
        ("mirror: never", lambda policy: policy.defaults.mirror, "never"),
        ("promote: never", lambda policy: policy.defaults.promote, None),
        (
            "promote: {reads: 2, within: 7d, to: 1MiB}",
            lambda policy: policy.defaults.promote,
            Promote(2, 7 * DAY, MIB),
        ),
        ("flash: {high_watermark: 100%}", lambda policy: policy.flash.high_watermark, Mark(100.0)),
        (
            "flash: {high_watermark: 100GiB, low_watermark: 90 GiB}",
            lambda policy: policy.flash.high_watermark,
            Mark(size=100 * GIB),
        ),
        ("flash: {capacity: 500GiB}", lambda policy: policy.flash.capacity, 500 * GIB),
        ("flash: {low_watermark: 0.5 %}", lambda policy: policy.flash.low_watermark, Mark(0.5)),
        ("flash: {reserve: 0}", lambda policy: policy.flash.reserve, 0),
        ("mover: {rate: unlimited}", lambda policy: policy.mover.rate, None),
        ("mover: {rate: 64KiB / s}", lambda policy: policy.mover.rate, 64 * KIB),
        ("mover: {operations: unlimited}", lambda policy: policy.mover.operations, None),
        ("mover: {operations: 5/s}", lambda policy: policy.mover.operations, 5),
        ("mover: {suspend_on_errors: never}", lambda policy: policy.mover.suspend_on_errors, None),
        ("mover: {window: ['1:00-2:00']}", lambda policy: len(policy.mover.windows), 1),
    ],
)
def test_values_are_read(
    policies: PolicyLoader, more: str, read: Callable[[Policy], object], value: object
) -> None:
    assert read(policies.load(f"version: 1\n{more}\n")) == value


def test_a_watermark_stands_for_bytes_of_the_capacity_at_most() -> None:
    assert Mark(percent=75.0).of(200) == 150
    assert Mark(size=150).of(200) == 150
    assert Mark(size=300).of(200) == 200


def test_rules_inherit_what_they_do_not_set(policies: PolicyLoader) -> None:
    policy = policies.load(
        "version: 1\nhead: 8KiB\nmirror: never\nevict: lru\npromote: {reads: 2, within: 1h}\n"
        "class: bulk\nflash: {evict_order: [bulk, dear]}\n"
        "rules:\n"
        "  - {name: as-above, match: {size: '> 1B'}}\n"
        "  - {name: other, match: {size: '> 2B'}, class: dear, promote: never, evict: heat}\n"
        "  - {name: whole, match: {size: '> 3B'}, head: all}\n"
        "  - {name: gone, match: {size: '> 4B'}, head: none}\n"
        "  - {name: asked, match: {size: '> 5B'}, head: none, promote: {reads: 9, within: 1s}}\n"
    )
    promote = Promote(2, HOUR)
    assert policy.defaults == replace(
        DEFAULTS, head=8 * KIB, mirror="never", promote=promote, evict="lru", eviction_class="bulk"
    )
    assert rules(policy) == {
        "as-above": policy.defaults,
        "other": replace(
            DEFAULTS, head=8 * KIB, mirror="never", eviction_class="dear", eviction_rank=1
        ),
        "whole": replace(
            DEFAULTS, head=WHOLE_FILE, mirror="never", evict="lru", eviction_class="bulk"
        ),
        "gone": replace(DEFAULTS, head=0, mirror="never", evict="lru", eviction_class="bulk"),
        "asked": replace(
            DEFAULTS,
            head=0,
            mirror="never",
            promote=Promote(9, 10**9),
            evict="lru",
            eviction_class="bulk",
        ),
    }


def test_users_and_groups_are_looked_up(
    policies: PolicyLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = pwd.struct_passwd(("lab", "x", 4711, 4711, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"lab": lab}.__getitem__)
    policy = policies.rule("{owner: [lab, 12, '013'], group: root}")
    shown = repr(policy.rules[0].match)
    assert "frozenset({4711, 12, 13})" in shown or "frozenset({12, 13, 4711})" in shown


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_policy(tmp_path / "none.yaml")
    assert (
        "No such file or directory; check the name; for the keys of one: tierfs policy schema"
        in str(caught.value)
    )


def test_a_newer_format_is_the_only_complaint(policies: PolicyLoader) -> None:
    (line,) = policies.diagnostics("version: 2\nsomething: else\n")
    assert line.startswith("1:10: the file is version 2, but this tierfs reads version 1 only;")
