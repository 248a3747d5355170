from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.policy.loading import CONFIGS, ISSUE, NOW, PolicyLoader, a_file
from tierfs.common.units import DAY, MIB
from tierfs.policy.conditions import PathFits
from tierfs.policy.glob import path_glob
from tierfs.policy.match import Condition, Facts, Match, all_of, any_of, negated
from tierfs.policy.model import (
    AT_A_TIME,
    MANY_RULES,
    ConditionResult,
    Decider,
    Rule,
    RuleResult,
    decide,
    explain,
)
from tierfs.policy.tier_policy import load_policy


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        (a_file(b"/screens/2026-07/a.tif", size=MIB), "active-screens"),
        (a_file(b"/screens/2026-07/a.tif", size=MIB, idle=31 * DAY), "active-screens"),
        (a_file(b"/screens/2026-07/a.tif", size=5 * MIB, idle=31 * DAY), "archive"),
        (a_file(b"/screens/2025-07/a.tiff", idle=DAY), "warm-up-fast"),
        (a_file(b"/a.tiff", xattrs={b"user.state": b"archived"}), "archive"),
        (a_file(b"/a.tiff"), "warm-up-fast"),
        (a_file(b"/a.tiff", uid=1), None),
        (a_file(b"/a.png"), None),
    ],
)
def test_the_first_rule_that_matches_holds(
    policies: PolicyLoader, facts: Facts, rule: str | None
) -> None:
    policy = policies.load(ISSUE)
    decision = decide(policy, facts)
    assert decision.rule == rule
    by_name = {one.name: one.settings for one in policy.rules}
    assert decision.settings == (by_name[rule] if rule else policy.defaults)


def refuse(*_args: object) -> NoReturn:
    raise AssertionError("asked for a fact that decides nothing")


def test_costly_facts_are_asked_for_only_when_they_decide(policies: PolicyLoader) -> None:
    policy = policies.load(
        "version: 1\nrules:\n"
        "  - {name: a, match: {xattr: {user.a: x}, path: /a, size: '> 1B'}}\n"
        "  - {name: b, match: {any: [{path: /a}, {owner: 0}]}}\n"
    )
    facts = a_file()
    facts.find_paths = facts.find_xattr = facts.count_reads = refuse
    assert decide(policy, facts).rule == "b"


def test_costly_facts_are_asked_for_once(policies: PolicyLoader) -> None:
    asked: list[object] = []

    def paths() -> Sequence[bytes]:
        asked.append("paths")
        return [b"/c"]

    facts = a_file()
    facts.find_paths, facts.find_xattr = paths, asked.append
    rules = (f"  - {{name: {name}, match: {{path: /{name}}}}}\n" for name in "ab")
    marks = (f"  - {{name: {v}, match: {{xattr: {{user.a: {v}}}}}}}\n" for v in "xyz")
    policy = policies.load("version: 1\nrules:\n" + "".join((*rules, *marks)))
    assert decide(policy, facts).rule is None
    assert asked == ["paths", b"user.a"]


def test_every_rule_is_explained(policies: PolicyLoader) -> None:
    policy = policies.load(ISSUE)
    facts = a_file(b"/screens/2026-07/a.tiff", size=5 * MIB)
    explanation = explain(policy, facts)
    assert explanation.decision.rule == "warm-up-fast"
    assert explanation.rules == (
        RuleResult(
            "active-screens",
            "does not match",
            (ConditionResult("size", "<= 4MiB", negated=False, found="5MiB", passed=False),),
        ),
        RuleResult(
            "archive",
            "open",
            (ConditionResult("idle", "> 30d", negated=False, found="unknown", passed=None),),
        ),
        RuleResult(
            "warm-up-fast",
            "matches",
            (
                ConditionResult("owner", "root", negated=False, found="root (0)", passed=True),
                ConditionResult(
                    "path",
                    '"**/*.tiff"',
                    negated=False,
                    found="/screens/2026-07/a.tiff",
                    passed=True,
                ),
            ),
        ),
    )


def test_what_comes_after_the_rule_that_holds_is_not_asked(policies: PolicyLoader) -> None:
    facts = a_file(b"/screens/2026-07/a", size=1)
    verdicts = [report.verdict for report in explain(policies.load(ISSUE), facts).rules]
    assert verdicts == ["matches", "not asked", "not asked"]


@pytest.mark.parametrize(
    ("match", "told"),
    [
        ("{not: {path: '/a*'}}", ['path is /a, wanted not "/a*"']),
        ("{not: {any: [{path: /b}, {owner: root}]}}", ["owner is root (0), wanted not root"]),
        (
            "{any: [{path: /b}, {size: '> 1B'}]}",
            ["size is 0B, wanted > 1B", 'path is /a, wanted "/b"'],
        ),
        ("{xattr: {user.a: x}}", ['xattr user.a is "y", wanted "x"']),
        ("{xattr: {user.b: [x, y]}}", ['xattr user.b is not set, wanted "x" or "y"']),
        ("{age: '> 2h'}", ["age is 1.5h, wanted > 2h"]),
        (
            "{reads: {count: '>= 1', within: 7d}}",
            ["reads is unknown, wanted >= 1 within 7d"],
        ),
        ("{group: [12, root]}", ["group is 4294967294, wanted 12 or root"]),
    ],
)
def test_findings_tell_what_was_wanted_and_found(
    policies: PolicyLoader, match: str, told: list[str]
) -> None:
    facts = a_file(b"/a", gid=4294967294, age=DAY // 16, xattrs={b"user.a": b"y"})
    (report,) = explain(policies.rule(match), facts).rules
    assert [finding.summary() for finding in report.findings] == told


some_facts = st.builds(
    a_file,
    path=st.sampled_from(
        [b"/screens/2026-1/a", b"/archive/index.csv", b"/scratch/x.tif", b"/b.tiff"]
    ),
    size=st.sampled_from([0, MIB, 5 * MIB, 2**31]),
    age=st.integers(-DAY, 100 * DAY),
    idle=st.none() | st.integers(0, 60 * DAY),
    uid=st.sampled_from([0, 1, 1000]),
    gid=st.sampled_from([0, 1]),
    xattrs=st.sampled_from([{}, {b"user.state": b"archived"}, {b"user.state": b"expired-2"}]),
    reads=st.none() | st.integers(0, 3),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=some_facts)
def test_the_explanation_agrees_with_the_decision(facts: Facts) -> None:
    policy = load_policy(CONFIGS / "policy.example.yaml")
    explanation = explain(policy, facts)
    assert explanation.decision == decide(policy, facts)
    matching = [report.rule for report in explanation.rules if report.verdict == "matches"]
    assert matching == ([explanation.decision.rule] if explanation.decision.rule else [])
    for report in explanation.rules:
        wanted = {"matches": True, "does not match": False, "open": None}
        if report.verdict != "not asked":
            assert report.findings
            assert {finding.passed for finding in report.findings} == {wanted[report.verdict]}


def test_times_are_measured_from_the_time_of_the_facts() -> None:
    facts = a_file(age=5, idle=7)
    assert (facts.now, facts.age, facts.idle) == (NOW, 5, 7)
    assert (a_file(age=-5).age, a_file(idle=-5).idle) == (0, 0)


class Tried(Condition):
    """Passes for no file, and counts how often it is tried."""

    key, cost = "tried", 9

    def __init__(self) -> None:
        self.times = 0

    def test(self, _facts: Facts) -> bool:
        self.times += 1
        return False

    def wanted(self) -> str:
        return ""

    def found(self, _facts: Facts) -> str:
        return ""


def test_of_thousands_of_rules_about_paths_few_are_tried(policies: PolicyLoader) -> None:
    text = "".join(f"  - {{name: r{n}, match: {{path: '/{n}-*/**'}}}}\n" for n in range(2000))
    policy = policies.load(f"version: 1\nrules:\n{text}")
    tried = Tried()
    rules = [replace(rule, match=all_of([rule.match, tried])) for rule in policy.rules]
    decider = Decider(replace(policy, rules=tuple(rules)))
    for number in (0, 1999, 2000):
        decider.decide(a_file(b"/%d-b/c" % number))
    decider.decide(a_file(b"/x", others=(b"/7-a/b",)))
    assert tried.times == 3


def test_of_many_rules_some_are_tried_between_two_rests(policies: PolicyLoader) -> None:
    tried, since = Tried(), list[int]()
    policy = policies.load(ISSUE)
    rules = (replace(policy.rules[0], match=tried),) * 2000
    Decider(replace(policy, rules=rules), lambda: since.append(tried.times)).decide(a_file())
    assert tried.times == 2000
    assert all(later - earlier <= AT_A_TIME for earlier, later in pairwise([0, *since, 2000]))


NAMES = ("a", "b", "ab")
PATHS = [f"/{one}" for one in NAMES] + [f"/{one}/{two}" for one in NAMES for two in NAMES]
wild = st.sampled_from(["*", "**", "a*", "?b", "[ab]", "{a,b}", "{a,b*}", r"\a", r"\*"])
patterns = st.lists(st.sampled_from(NAMES) | wild, min_size=1, max_size=3).map("/".join)
matches = st.recursive(
    st.lists(patterns, min_size=1, max_size=3).map(
        lambda texts: PathFits(tuple(path_glob(f"/{text}") for text in texts))
    ),
    lambda parts: st.one_of(
        st.lists(parts, min_size=2, max_size=3).map(all_of),
        st.lists(parts, min_size=2, max_size=3).map(any_of),
        parts.map(negated),
    ),
    max_leaves=4,
)


@settings(deadline=None)
@given(matches)
@example(PathFits((path_glob("/**"),)))
def test_what_is_not_tried_would_not_have_matched(tree: Match) -> None:
    policy = load_policy(CONFIGS / "policy.example.yaml")
    others = [PathFits((path_glob(f"/c{number}/*"),)) for number in range(MANY_RULES)]
    rules = tuple(Rule(str(one is tree), one, policy.defaults) for one in (tree, *others))
    decider = Decider(replace(policy, rules=rules))
    for paths in ((), *product(PATHS), *product(PATHS, PATHS)):
        facts = a_file()
        facts.find_paths = partial(list, [path.encode() for path in paths])
        assert decider.decide(facts).rule == ("True" if tree.test(facts) else None)
