"""The JSON Schema accepts what the checker accepts, and only what no schema can say apart."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from jsonschema import Draft7Validator

from tests.policy.loading import CONFIGS, ISSUE, PolicyLoader
from tests.policy.policy_documents import changed, documents
from tierfs.common.errors import ConfigError
from tierfs.policy.tier_policy import load_policy, policy_schema

SCHEMA = policy_schema()
VALIDATOR = Draft7Validator(SCHEMA)

fuzz = settings(
    max_examples=int(os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

REASONS = (
    # The size of a number that is written with a unit.
    r"must be \w+ to \w+, not",
    r"must be a multiple of 4KiB, not",
    r"is not a whole number of bytes",
    r"is larger than any file can be",
    r"is too long; write 100y",
    r"must be at least 64KiB/s",
    r"can never hold:",
    r"is empty: .* ends as it starts",
    # What this machine knows.
    r"names no (user|group) of this machine",
    r"must be a (user|group)'s number up to",
    # The grammar of patterns, which is not a regular one.
    r"has a [][{}] |has an empty name|has the range|has \*\* beside|ends in a backslash",
    r'holds "\.{1,2}", which no stored path does|stands for more than',
    r"holds a character that no name can",
    # What concerns more than one key.
    r'"low_watermark" .* is not below "high_watermark"',
    r'"class" .* is not in "evict_order"',
    r'"evict_order" (holds|does not hold) ',
    r"can never match: ",
    r"has the name of the rule on line",
    r'"promote" to .* brings nothing',
    r'has no use with "',
    r"not valid YAML: .*nested deeper than",
)
"""Of the checker, and none that JSON Schema can express."""

BEYOND_A_SCHEMA = re.compile("|".join(REASONS))


def diagnostics(path: Path, document: object) -> list[str]:
    """What the checker says of a structure, written as YAML."""
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    try:
        load_policy(path)
    except ConfigError as exc:
        return str(exc).split("\n")
    return []


@fuzz
@given(document=documents)
def test_what_is_right_is_accepted_by_both(tmp_path: Path, document: object) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    said = diagnostics(tmp_path / "p.yaml", document)
    event("accepted" if not said else "refused beyond the schema")
    assert [line for line in said if not BEYOND_A_SCHEMA.search(line)] == []


@fuzz
@given(document=changed())
def test_the_schema_and_the_checker_agree(tmp_path: Path, document: object) -> None:
    valid = VALIDATOR.is_valid(document)
    said = diagnostics(tmp_path / "p.yaml", document)
    event(f"schema {'accepts' if valid else 'refuses'}, checker {'refuses' if said else 'accepts'}")
    seen = [line for line in said if not BEYOND_A_SCHEMA.search(line)]
    if valid:
        assert seen == []
    else:
        assert said


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"version": 2},
        {"version": 1, "haed": "64KiB"},
        {"version": 1, "head": "64K"},
        {"version": 1, "head": 5000},
        {"version": 1, "pin": "yes"},
        {"version": 1, "promote": {"reads": 3}},
        {"version": 1, "promote": {"reads": 0, "within": "1h"}},
        {"version": 1, "flash": {"high_watermark": "101%"}},
        {"version": 1, "flash": {"high_watermark": 85}},
        {"version": 1, "flash": {"low_watermark": "0%"}},
        {"version": 1, "mover": {"rate": "200MiB"}},
        {"version": 1, "mover": {"window": "25:00-06:00"}},
        {"version": 1, "mover": {"window": []}},
        {"version": 1, "rules": [{"name": "a"}]},
        {"version": 1, "rules": [{"name": "a", "match": {}}]},
        {"version": 1, "rules": [{"name": "a b", "match": {"owner": 0}}]},
        {"version": 1, "rules": [{"name": "a", "match": {"size": "4MiB"}}]},
        {"version": 1, "rules": [{"name": "a", "match": {"path": "*.tif"}}]},
        {"version": 1, "rules": [{"name": "a", "match": {"xattr": {"state": "a"}}}]},
        {"version": 1, "rules": [{"name": "a", "match": {"not": {"any": [{}]}}}]},
    ],
    ids=json.dumps,
)
def test_both_refuse(tmp_path: Path, document: object) -> None:
    assert not VALIDATOR.is_valid(document)
    assert diagnostics(tmp_path / "p.yaml", document)


def test_the_schema_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("name", ["policy.example.yaml", "policy.minimal.yaml"])
def test_the_examples_fit_the_schema(name: str) -> None:
    document = yaml.safe_load((CONFIGS / name).read_text())
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_the_fixed_shape_fits_the_schema(policies: PolicyLoader) -> None:
    assert VALIDATOR.is_valid(yaml.safe_load(ISSUE))
    assert len(policies.load(ISSUE).rules) == 3


def described(schema: object) -> list[str]:
    """The keys of a schema, those inside it included, that have no description."""
    if isinstance(schema, list):
        return [key for part in schema for key in described(part)]
    if not isinstance(schema, dict):
        return []
    own = [key for key, part in schema.get("properties", {}).items() if not part.get("description")]
    return own + [key for part in schema.values() for key in described(part)]


def test_every_key_is_described_for_editors() -> None:
    assert described(SCHEMA) == []
