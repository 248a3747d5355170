from __future__ import annotations

import sys

import pytest

from tests.policy.loading import PolicyLoader

TEN_MISTAKES = """\
version: 1
haed: 64KiB
mirror: asink
flash: {high_watermark: 70%, low_watermark: 75%, rserve: 5GiB}
mover: {rate: 200MB, window: "22:00-22:00"}
rules:
  - name: all
    match: {path: "**"}
    head: 2KiB
  - name: archive
    match: {idle: "30d", owner: rooot}
  - name: all
    match: {size: "> 4MiB"}
"""
TEN_DIAGNOSTICS = """\
2:1: unknown key "haed" in the policy; did you mean "head"?
3:9: "mirror" must be one of async, sync, never, not "asink"; did you mean "async"?
4:45: "low_watermark" (75%) is not below "high_watermark" (70%); leave some room between the two
4:50: unknown key "rserve" in "flash"; did you mean "reserve"?
5:15: "rate" must be a rate such as 200MiB/s, not "200MB"; or write "unlimited"
5:30: "window" is empty: "22:00-22:00" ends as it starts; for the whole day write "00:00-24:00"
9:11: "head" must be 4KiB to 1GiB, not "2KiB"; or write "all" or "none"
11:19: "idle" must be a comparison, not "30d"; write "<= 30d", ">= 30d" or "= 30d"
11:33: "owner" names no user of this machine: "rooot"; did you mean "root"?
12:11: rule "all" has the name of the rule on line 7; give each its own name
13:12: rule "all" can never match: rule "all" before it matches every file; move it up, or remove it
"""
RULE = "version: 1\nrules:\n  - name: a\n    match: "


def test_ten_mistakes_and_one_are_reported_at_once_each_at_its_place(
    policies: PolicyLoader,
) -> None:
    assert policies.diagnostics(TEN_MISTAKES) == TEN_DIAGNOSTICS.splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # settings
        ("head: -4KiB", '2:7: "head" is wrong: "-4KiB" is not a size'),
        ("head: 5000", '2:7: "head" must be a multiple of 4KiB'),
        ("head: none of it", '"head" is wrong'),
        ("head: al", '2:7: "head" is wrong: "al" is not a size; did you mean "all"?'),
        ("head: [64KiB]", '2:7: "head" must be a single value, not a list'),
        ("head: ~", '2:7: "head" has no value; give it one, or remove the key'),
        ("pin: yes", '2:6: "pin" must be true or false, not "yes"'),
        ("pin: 'true'", '2:6: "pin" must be true or false'),
        ("pin: 1", '2:6: "pin" must be true or false'),
        ("promote: always", '2:10: "promote" must hold keys of its own'),
        ("promote: nver", 'did you mean "never"?'),
        ("promote: {reads: 3}", '2:10: "within" is missing from "promote"'),
        ("promote: {reads: 0, within: 1h}", '2:18: "reads" must be a whole number from 1'),
        ("promote: {reads: '3', within: 1h}", '2:18: "reads" must be a whole number from 1'),
        ("promote: {reads: 3, within: 5m}", '"m" is not clear; write 5min for minutes'),
        ("promote: {reads: 3, within: 0s}", '"within" must be 1s to 100y, not "0s"'),
        ("promote: {reads: 3, within: 1h, to: none}", '2:37: "to" is wrong: "none" is not a size'),
        (
            "head: 64KiB\npromote: {reads: 3, within: 1h, to: 64KiB}",
            '3:10: "promote" to 64KiB brings nothing that "head: 64KiB" has not brought already',
        ),
        ("head: all\npromote: {reads: 3, within: 1h}", '3:10: "promote" to all brings nothing'),
        ("pin: true\nevict: lru", '3:8: "evict: lru" has no use with "pin: true"'),
        ("head: none\npin: true", '3:6: "pin: true" has no use with "head: none"'),
        (
            "head: none\nrules: [{name: a, match: {owner: 0}, pin: true}]",
            '3:43: "pin: true" has no use with "head: none"',
        ),
        ("class: a b", '2:8: "class" cannot be "a b"; use up to 64 letters'),
        ("class: 12", '2:8: "class" must be a name, but YAML reads "12" as int; put the value'),
        ("class: scrach\nflash: {evict_order: [scratch, standard]}", 'did you mean "scratch"?'),
        ("class: x", '2:8: "class" "x" is not in "evict_order" of "flash"; add "x" to it'),
        # flash and mover
        ("flash: {evict_order: [a]}", '2:22: "evict_order" does not hold "standard"'),
        ("flash: {evict_order: [standard, a, a]}", '"evict_order" holds "a" twice'),
        ("flash: {evict_order: []}", '2:22: "evict_order" is an empty list'),
        ("flash: {evict_order: standard}", '2:22: "evict_order" must be a list'),
        ("flash: {evict_order: [standard, a b]}", '2:33: a class cannot be "a b"'),
        ("flash: {high_watermark: 85}", '2:25: "high_watermark" must be more than 0% and at most'),
        ("flash: {high_watermark: 85}", 'write "85%"'),
        ("flash: {high_watermark: 0.85}", 'write "85%"'),
        ("flash: {high_watermark: .855}", 'write "85.5%"'),
        ("flash: {high_watermark: 1.0}", 'write "100%"'),
        ("flash: {high_watermark: 1.5}", 'write "1.5%"'),
        ("mover: {suspend_on_errors: 0.2}", 'write "20%"'),
        ("flash: {high_watermark: 100KiB}", '"high_watermark" must be 1MiB to'),
        ("flash: {high_watermark: 1GiB, low_watermark: 2GiB}", '(2GiB) is not below "high'),
        (
            "flash: {capacity: 10GiB, high_watermark: 80%, low_watermark: 8GiB}",
            '"low_watermark" (8GiB) is not below "high_watermark" (80%)',
        ),
        ("flash: {capacity: 5MiB}", '"capacity" must be 1GiB to'),
        ("flash: {high_watermark: 101%}", '2:25: "high_watermark" must be more than 0%'),
        ("flash: {low_watermark: 0%}", '2:24: "low_watermark" must be more than 0%'),
        ("flash: {high_watermark: 75%}", '2:25: "low_watermark" (75%) is not below "high'),
        ("flash: {low_watermark: 85%}", '2:24: "low_watermark" (85%) is not below "high'),
        ("mover: {rate: 1KiB/s}", '2:15: "rate" must be at least 64KiB/s, not "1KiB/s"'),
        ("mover: {rate: unlimted}", 'did you mean "unlimited"?'),
        ("mover: {rate: 200MiB/min}", "must be a rate such as 200MiB/s"),
        ("mover: {operations: 500}", '"operations" must be a number a second such as 500/s'),
        ("mover: {operations: 0/s}", '"operations" must be a number a second'),
        ("mover: {concurrency: 65}", '"concurrency" must be a whole number from 1 to 64'),
        ("mover: {suspend_on_errors: 200%}", '"suspend_on_errors" must be more than 0%'),
        ("mover: {window: 25:00-26:00}", '2:17: "window" must be a time of day such as'),
        ("mover: {window: 24:00-06:00}", '"window" must be a time of day'),
        ("mover: {window: 00:00-24:00-}", '"window" must be a time of day'),
        ("mover: {window: [22:00-06:00, x]}", '2:31: "window" must be a time of day'),
        ("mover: {window: mod-fri 22:00-06:00}", 'did you mean "mon"?'),
        ("mover: {window: []}", '2:17: "window" is an empty list'),
        (
            "mover: {windows: 22:00-06:00}",
            'unknown key "windows" in "mover"; did you mean "window"',
        ),
        # rules
        ("rules: {name: a}", '2:8: "rules" must be a list'),
        ("rules: [a]", "2:9: a rule must hold keys of its own"),
        ("rules: [~]", "2:9: a rule has no value"),
        ("rules: [{name: a}]", '2:9: "match" is missing from a rule; add a line such as'),
        ("rules: [{match: {owner: 0}}]", '2:9: "name" is missing from a rule'),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_hint(
    policies: PolicyLoader, text: str, said: str
) -> None:
    lines = policies.diagnostics(f"version: 1\n{text}\n")
    assert any(said in line for line in lines), lines
    assert all("; " in line for line in lines)


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("{}", '4:12: "match" holds no condition; to match every file write {path: "**"}'),
        ("all", '4:12: "match" must hold keys of its own'),
        ("[{owner: 0}]", '4:12: "match" must hold keys of its own'),
        ("{paht: /a}", '4:13: unknown key "paht" in "match"; did you mean "path"?'),
        ("{path: '*.tif'}", '4:19: "path" must begin with / or **: "*.tif"; write "**/*.tif"'),
        ("{path: [/a, '/b/[']}", '4:24: "path" has a [ without a ]'),
        ("{path: []}", '4:19: "path" is an empty list'),
        ("{path: 12}", '4:19: "path" must be a path, but YAML reads "12" as int'),
        ("{path: {a: b}}", '4:19: "path" must be a single value, not a mapping'),
        ("{size: 4MiB}", '4:19: "size" must be a comparison, not "4MiB"; write "<= 4MiB"'),
        ("{size: '> lots'}", '4:19: "size" is wrong: "lots" is not a size'),
        ("{size: 'lots'}", "write an operator (<, <=, =, >=, >) and a size"),
        ("{size: '=> 4MiB'}", '"size" is wrong: "> 4MiB" is not a size'),
        ("{size: '< 0'}", '4:19: "size" can never hold: "< 0"'),
        ("{size: '> 9223372036854775807'}", '4:19: "size" can never hold'),
        ("{size: '4MiB..1MiB'}", '4:19: "size" can never hold: "4MiB..1MiB"; turn the comparison'),
        ("{age: '> 1m'}", '"m" is not clear'),
        ("{idle: '> 30'}", '"30" is not a length of time'),
        ("{owner: no-such-user}", '4:20: "owner" names no user of this machine: "no-such-user"'),
        ("{group: rooot}", '4:20: "group" names no group of this machine: "rooot"; did you mean'),
        ("{owner: 4294967295}", "must be a user's number up to 4294967294"),
        ("{owner: -1}", '"owner" names no user of this machine: "-1"'),
        ("{owner: true}", '"owner" must name a user, but YAML reads "true" as bool'),
        ("{owner: ''}", '"owner" names no user of this machine: ""'),
        ("{xattr: state}", '4:20: "xattr" must hold names of attributes, each with a value'),
        ("{xattr: {}}", '4:20: "xattr" must hold names of attributes'),
        (
            "{xattr: {state: a}}",
            '4:21: "state" is not the name of an attribute that can be matched',
        ),
        ("{xattr: {state: a}}", 'did you mean "user.state"?'),
        ("{xattr: {tierfs.prefix: 0}}", "names begin with user., trusted., security."),
        ("{xattr: {user.a: ~}}", '4:29: "user.a" has no value; write, for example,'),
        ("{xattr: {user.a: '['}}", '4:29: "user.a" has a [ without a ]'),
        ("{xattr: {user.a: {b: c}}}", '"user.a" must be a single value, not a mapping'),
        ("{reads: 3}", '4:20: "reads" must hold keys of its own'),
        ("{reads: {count: 3, within: 1h}}", 'write "<= 3", ">= 3" or "= 3"'),
        ("{reads: {count: '>= x', within: 1h}}", '"x" is not a count; write a whole number'),
        ("{reads: {count: '>= 3'}}", '"within" is missing from "reads"'),
        ("{any: []}", '4:18: "any" is an empty list'),
        ("{any: {owner: 0}}", '4:18: "any" must be a list'),
        ("{any: [{}]}", '4:19: a part of "any" holds no condition'),
        ("{all: [{owner: 0}, x]}", '4:31: a part of "all" must hold keys of its own'),
        ("{not: {all: [{ownr: 0}]}}", 'unknown key "ownr" in "match"; did you mean "owner"?'),
    ],
)
def test_a_mistake_in_conditions(policies: PolicyLoader, match: str, said: str) -> None:
    lines = policies.diagnostics(RULE + match)
    assert any(said in line for line in lines), lines
    assert all("; " in line for line in lines)


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("{not: {path: '**'}}", "no file meets its conditions"),
        ("{all: [{size: '> 4MiB'}, {size: '< 1MiB'}]}", "no file meets its conditions"),
        ("{age: '> 2d', all: [{age: '< 1d'}, {owner: 0}]}", "no file meets its conditions"),
        ("{any: [{not: {size: '>= 0'}}]}", "no file meets its conditions"),
    ],
)
def test_conditions_that_contradict_one_another(
    policies: PolicyLoader, match: str, said: str
) -> None:
    (line,) = policies.diagnostics(RULE + match)
    assert line.startswith('4:12: rule "a" can never match: ')
    assert said in line


@pytest.mark.parametrize(
    "everything",
    [
        "{path: '/**'}",
        "{size: '>= 0'}",
        "{age: '>= 0s'}",
        "{any: [{owner: 0}, {path: '**'}]}",
        "{not: {all: [{size: '> 2B'}, {size: '< 2B'}]}}",
    ],
)
def test_a_rule_behind_one_that_matches_everything(policies: PolicyLoader, everything: str) -> None:
    text = f"{RULE}{everything}\n  - name: b\n    match: {{owner: 0}}\n"
    (line,) = policies.diagnostics(text)
    assert line.startswith(
        '6:12: rule "b" can never match: rule "a" before it matches every file; move it up'
    )


@pytest.mark.parametrize(
    "not_everything",
    ["{idle: '>= 0s'}", "{path: '/*'}", "{xattr: {user.a: '*'}}", "{size: '>= 1'}"],
)
def test_a_rule_behind_one_that_matches_much(policies: PolicyLoader, not_everything: str) -> None:
    text = f"{RULE}{not_everything}\n  - name: b\n    match: {{owner: 0}}\n"
    assert [rule.name for rule in policies.load(text).rules] == ["a", "b"]


def test_a_rule_with_the_conditions_of_an_earlier_one(policies: PolicyLoader) -> None:
    text = f"{RULE}{{owner: 0, size: '< 1B'}}\n  - name: b\n    match: {{size: '< 1B', owner: 0}}\n"
    (line,) = policies.diagnostics(text)
    assert 'rule "b" can never match: rule "a" before it has the same conditions' in line


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("version: 1\nhead: > 4KiB", "put a value that begins with > or | in quotes"),
        ("version: 1\nrules: [{match: {size: > 4KiB}}]", "this character in quotes"),
        ("version: 1\nrules:\n- match: {path: **/*.tif}", "put one that begins with * in quotes"),
    ],
)
def test_values_that_need_quotes(policies: PolicyLoader, text: str, hint: str) -> None:
    (line,) = policies.diagnostics(text)
    assert hint in line


def steps(policies: PolicyLoader, rules: int) -> int:
    """How much Python does to read so many rules: calls of functions, which no load disturbs."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    classes = ", ".join(f"c{number}" for number in range(rules))
    each = (
        f'  - {{name: r{number}, match: {{path: "/set{number}/**"}}, class: c{number}}}\n'
        for number in range(rules)
    )
    text = f"version: 1\nflash: {{evict_order: [standard, {classes}]}}\nrules:\n{''.join(each)}"
    sys.setprofile(count)
    try:
        policies.load(text)
    finally:
        sys.setprofile(None)
    return calls


def test_reading_takes_time_in_proportion_to_the_rules(policies: PolicyLoader) -> None:
    few, many = steps(policies, 100), steps(policies, 400)
    assert many < 4.5 * few
