"""Changes to the text of a policy: what was written stays, and the result says what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierfs.common.units import KIB
from tierfs.policy.edit import append_rule, insert_rule, set_in_rule, set_key
from tierfs.policy.tier_policy import parse_policy

RULE = {"name": "pin-a", "match": '{path: "/a/**"}', "head": "all", "pin": "true"}
EXAMPLE = Path("configs/policy.example.yaml")


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("version: 1\nhead: 64KiB # why\n", ("head",), "version: 1\nhead: X # why\n"),
        ("version: 1\n# tail\n", ("head",), "version: 1\nhead: X\n# tail\n"),
        ("version: 1", ("head",), "version: 1\nhead: X\n"),
        ("{version: 1}", ("head",), "{version: 1, head: X}"),
        ("{version: 1,}\n", ("head",), "{version: 1, head: X,}\n"),
        ("version: 1\nflash:\n", ("flash", "low"), "version: 1\nflash: {low: X}\n"),
        ("version: 1\n", ("flash", "low"), "version: 1\nflash: {low: X}\n"),
        (
            "version: 1\nflash: {high: 9%}\n",
            ("flash", "low"),
            "version: 1\nflash: {high: 9%, low: X}\n",
        ),
        (
            "version: 1\nflash:\n  # c\n  high: 9%  # d\n",
            ("flash", "low"),
            "version: 1\nflash:\n  # c\n  high: 9%  # d\n  low: X\n",
        ),
        ("rules:\n  - a: b\nversion: 1\n", ("head",), "head: X\nrules:\n  - a: b\nversion: 1\n"),
        ('version: "1"\nhead: "64KiB"\n', ("head",), 'version: "1"\nhead: X\n'),
        ("version: 1\nhead:\n", ("head",), "version: 1\nhead: X\n"),
    ],
)
def test_a_scalar_is_set_and_nothing_else(text: str, keys: tuple[str, ...], expected: str) -> None:
    assert set_key(text, keys, "X") == expected


def test_a_scalar_cannot_replace_a_mapping_nor_stand_below_a_scalar() -> None:
    with pytest.raises(ValueError, match="flash"):
        set_key("flash: {a: 1}\n", ("flash",), "X")
    with pytest.raises(ValueError, match=r"flash\.low"):
        set_key("flash: 5\n", ("flash", "low"), "X")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v: 1\n", "v: 1\nrules:\n  - n: a\n    h: b\n"),
        ("v: 1", "v: 1\nrules:\n  - n: a\n    h: b\n"),
        ("{v: 1}", "{v: 1, rules: [{n: a, h: b}]}"),
        ("rules:\n", "rules: [{n: a, h: b}]\n"),
        ("rules: []\n", "rules: [{n: a, h: b}]\n"),
        ("rules: [{n: z}]\n", "rules: [{n: a, h: b}, {n: z}]\n"),
        ("rules:\n# c\n- n: z\n", "rules:\n# c\n- n: a\n  h: b\n- n: z\n"),
        ("rules:\n    - n: z\n", "rules:\n    - n: a\n      h: b\n    - n: z\n"),
    ],
)
def test_a_rule_comes_first(text: str, expected: str) -> None:
    assert insert_rule(text, "rules", {"n": "a", "h": "b"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v: 1\n", "v: 1\nrules:\n  - n: a\n    h: b\n"),
        ("rules: []\n", "rules: [{n: a, h: b}]\n"),
        ("rules: [{n: z}] # c\n", "rules: [{n: z}, {n: a, h: b}] # c\n"),
        ("rules:\n# c\n- n: z\n# d\nx: 1\n", "rules:\n# c\n- n: z\n- n: a\n  h: b\n# d\nx: 1\n"),
        (
            "rules:\n    - n: z\n      m:\n        p: q # c\n\nx: 1\n",
            "rules:\n    - n: z\n      m:\n        p: q # c\n    - n: a\n      h: b\n\nx: 1\n",
        ),
        ("rules:\n  - n: z", "rules:\n  - n: z\n  - n: a\n    h: b\n"),
        ("rules:\n  - {n: z}\n", "rules:\n  - {n: z}\n  - n: a\n    h: b\n"),
    ],
)
def test_a_rule_comes_last(text: str, expected: str) -> None:
    assert append_rule(text, "rules", {"n": "a", "h": "b"}) == expected


def test_a_setting_of_a_rule_is_changed_and_nothing_else() -> None:
    text = "rules:\n  - name: a # c\n    head: 4KiB # d\n  - {name: b, pin: true}\n"
    changed = set_in_rule(text, "rules", "a", "head", "8KiB")
    assert changed == text.replace("4KiB", "8KiB")
    assert set_in_rule(text, "rules", "b", "head", "8KiB") is None
    assert set_in_rule(text, "rules", "c", "head", "8KiB") is None
    assert set_in_rule("version: 1\n", "rules", "a", "head", "8KiB") is None


def test_a_rule_needs_a_list() -> None:
    with pytest.raises(ValueError, match="list"):
        append_rule("rules: {a: b}\n", "rules", {"n": "a"})
    with pytest.raises(ValueError, match="list"):
        insert_rule("rules: {a: b}\n", "rules", {"n": "a"})


def test_the_example_policy_means_what_was_changed_and_keeps_every_line() -> None:
    before = EXAMPLE.read_text()
    text = set_key(before, ("head",), "128KiB")
    text = set_key(text, ("flash", "low_watermark"), "60%")
    text = insert_rule(text, "rules", RULE)
    text = append_rule(text, "rules", RULE | {"name": "last", "match": '{path: "/b/**"}'})
    policy = parse_policy(EXAMPLE, text)
    old = parse_policy(EXAMPLE, before)
    assert policy.defaults.head == 128 * KIB
    assert policy.flash.low_watermark.percent == 60
    assert [rule.name for rule in policy.rules] == [
        "pin-a",
        *(rule.name for rule in old.rules),
        "last",
    ]
    assert policy.rules[0].settings.pin
    kept = [line for line in before.splitlines() if line in text.splitlines()]
    assert len(kept) >= len(before.splitlines()) - 2
