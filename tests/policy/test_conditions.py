"""Conditions and trees of them, in three-valued logic."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policy.loading import PolicyLoader, a_file
from tierfs.common.units import DAY, KIB, MIB, SECOND
from tierfs.policy.match import AllOf, AnyOf, Condition, Facts, Match, Not, all_of, any_of, negated


@pytest.mark.parametrize(
    ("match", "facts", "passes"),
    [
        ("{size: '<= 4MiB'}", a_file(size=4 * MIB), True),
        ("{size: '<= 4MiB'}", a_file(size=4 * MIB + 1), False),
        ("{size: '< 4MiB'}", a_file(size=4 * MIB), False),
        ("{size: '> 4MiB'}", a_file(size=4 * MIB), False),
        ("{size: '>= 4MiB'}", a_file(size=4 * MIB), True),
        ("{size: '= 0'}", a_file(size=0), True),
        ("{size: 4KiB..8KiB}", a_file(size=4 * KIB), True),
        ("{size: 4KiB .. 8KiB}", a_file(size=8 * KIB), True),
        ("{size: 4KiB..8KiB}", a_file(size=8 * KIB + 1), False),
        ("{age: '> 1d'}", a_file(age=DAY), False),
        ("{age: '> 1d'}", a_file(age=DAY + 1), True),
        ("{age: '< 1d'}", a_file(age=-DAY), True),
        ("{idle: '> 1d'}", a_file(idle=2 * DAY), True),
        ("{idle: '> 1d'}", a_file(idle=0), False),
        ("{idle: '> 1d'}", a_file(idle=None), None),
        ("{idle: '>= 0s'}", a_file(idle=None), None),
        ("{owner: root}", a_file(uid=0), True),
        ("{owner: [root, 12]}", a_file(uid=12), True),
        ("{owner: root}", a_file(uid=1), False),
        ("{group: 12}", a_file(uid=12, gid=0), False),
        ("{group: 12}", a_file(uid=0, gid=12), True),
        ("{path: /a}", a_file(b"/a"), True),
        ("{path: [/b, /a]}", a_file(b"/a"), True),
        ("{path: /a}", a_file(b"/b", others=(b"/a",)), True),
        ("{path: '/*.tif'}", a_file(b"/\xff.tif"), True),
        ("{path: /a}", a_file(b"/b"), False),
        ("{xattr: {user.a: x}}", a_file(xattrs={b"user.a": b"x"}), True),
        ("{xattr: {user.a: [y, 'x*']}}", a_file(xattrs={b"user.a": b"x/\xff"}), True),
        ("{xattr: {user.a: 010}}", a_file(xattrs={b"user.a": b"010"}), True),
        ("{xattr: {user.a: yes}}", a_file(xattrs={b"user.a": b"yes"}), True),
        ("{xattr: {user.a: '*'}}", a_file(), False),
        ("{xattr: {user.a: x, user.b: y}}", a_file(xattrs={b"user.a": b"x"}), False),
        ("{fact: {image.width: '>= 2048'}}", a_file(header={"image.width": 2048}), True),
        ("{fact: {image.width: '> 2048'}}", a_file(header={"image.width": 2048}), False),
        ("{fact: {image.width: '= 2048'}}", a_file(header={"image.width": 2048}), True),
        ("{fact: {image.width: '1 .. 9.5'}}", a_file(header={"image.width": 9.5}), True),
        ("{fact: {image.width: '>= 0'}}", a_file(header={"image.width": "wide"}), False),
        ("{fact: {image.width: 12}}", a_file(header={"image.width": 12}), True),
        ("{fact: {image.format: [PNG, 'JP*']}}", a_file(header={"image.format": "JPEG"}), True),
        ("{fact: {image.format: PNG}}", a_file(header={"image.format": "GIF"}), False),
        ("{fact: {image.width: '>= 2048'}}", a_file(), None),
        ("{fact: {image.width: '*'}}", a_file(), None),
        ("{not: {fact: {image.width: '>= 2048'}}}", a_file(), None),
        ("{reads: {count: '>= 3', within: 1d}}", a_file(reads=3), True),
        ("{reads: {count: '= 0', within: 1d}}", a_file(reads=3), False),
        ("{reads: {count: '>= 3', within: 1d}}", a_file(reads=None), None),
        ("{owner: 0, size: '= 0'}", a_file(), True),
        ("{owner: 0, size: '> 0'}", a_file(), False),
        ("{owner: 0, idle: '> 1d'}", a_file(), None),
        ("{owner: 1, idle: '> 1d'}", a_file(), False),
        ("{any: [{owner: 1}, {idle: '> 1d'}]}", a_file(), None),
        ("{any: [{owner: 0}, {idle: '> 1d'}]}", a_file(), True),
        ("{any: [{owner: 1}, {owner: 2}]}", a_file(), False),
        ("{not: {idle: '> 1d'}}", a_file(), None),
        ("{not: {owner: 1}}", a_file(), True),
        ("{not: {owner: 0, idle: '> 1d'}}", a_file(uid=1), True),
    ],
)
def test_conditions(
    policies: PolicyLoader, match: str, facts: Facts, *, passes: bool | None
) -> None:
    (rule,) = policies.rule(match).rules
    assert rule.match.test(facts) is passes


def test_a_time_of_zero_reads_is_asked_for_its_window(policies: PolicyLoader) -> None:
    asked: list[int] = []
    facts = a_file()
    facts.count_reads = asked.append
    (rule,) = policies.rule("{reads: {count: '= 0', within: 90s}}").rules
    assert rule.match.test(facts) is None
    assert asked == [90 * SECOND]


def test_a_file_without_a_name_fits_only_what_everything_does(policies: PolicyLoader) -> None:
    for pattern, fits in (("**", True), ("/*", False)):
        facts = a_file()
        facts.find_paths = tuple
        assert policies.rule(f"{{path: '{pattern}'}}").rules[0].match.test(facts) is fits


@dataclass(frozen=True)
class Fixed(Condition):
    """A condition of known outcome, of which it is known beforehand that it is so, or not."""

    outcome: bool | None
    sure: bool
    cost: int = 0
    key: str = "fixed"

    @property
    def certain(self) -> bool | None:
        return self.outcome if self.sure else None

    def test(self, _facts: Facts) -> bool | None:
        return self.outcome

    def wanted(self) -> str:
        return "to pass"

    def found(self, _facts: Facts) -> str:
        return str(self.outcome)


def kleene(match: Match) -> float:
    """The outcome as a number: 0 for no, 1 for yes, a half for open."""
    if isinstance(match, AllOf):
        return min(kleene(part) for part in match.parts)
    if isinstance(match, AnyOf):
        return max(kleene(part) for part in match.parts)
    if isinstance(match, Not):
        return 1 - kleene(match.part)
    return {None: 0.5, False: 0.0, True: 1.0}[match.test(a_file())]


leaves: st.SearchStrategy[Match] = st.builds(
    Fixed,
    outcome=st.sampled_from([True, False, None]),
    sure=st.booleans(),
    cost=st.integers(0, 5),
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(all_of)
        | st.lists(inner, min_size=1, max_size=3).map(any_of)
        | inner.map(negated)
    ),
)


@given(tree=trees)
def test_trees_follow_three_valued_logic(tree: Match) -> None:
    assert {None: 0.5, False: 0.0, True: 1.0}[tree.test(a_file())] == kleene(tree)


@given(tree=trees)
def test_what_is_certain_is_what_comes_out(tree: Match) -> None:
    assert tree.certain is None or tree.certain is tree.test(a_file())
