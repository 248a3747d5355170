"""Whatever the text, a policy loads or is refused with places and hints: never a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.policy.loading import CONFIGS
from tests.policy.policy_documents import changed
from tests.policy.test_fuzz import SIGNS, check_message
from tierfs.common.errors import ConfigError
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy

EXAMPLE = (CONFIGS / "policy.example.yaml").read_text()
LINES = [line for line in EXAMPLE.splitlines() if line and not line.lstrip().startswith("#")]

fuzz = settings(
    max_examples=int(os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

WORDS = ["rules", "match", "name", "path", "size", "any", "not", "head", "all", "none", "window"]
VALUES = [
    "'> 30d'",
    "64KiB",
    "85%",
    "22:00-06:00",
    "'**/*'",
    "'/[a-'",
    "{}",
    "[]",
    "~",
    "1..2",
    "/s",
]
CHARACTERS = "{}[]:,#&*!|>'\"%@`?-~/\\\t\r\n\0\ufeff\x85\u2028\ud7ff <=."

tokens = st.sampled_from([*SIGNS, *WORDS, *VALUES, *CHARACTERS])


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The example, without its comments, with a few pieces replaced."""
    text = "\n".join(LINES)
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 12, len(text))))
        text = text[:start] + draw(tokens | st.text(max_size=6)) + text[end:]
    return text


@st.composite
def shuffles(draw: st.DrawFn) -> str:
    """Lines of the example in any order and number, differently indented."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=20))
    return "\n".join(" " * draw(st.integers(0, 6)) + line for line in lines)


yaml_like = st.lists(tokens | st.text(max_size=4), max_size=40).map("".join)


@fuzz
@given(text=mutations() | shuffles() | yaml_like)
@example(text="version: 1\nrules: [{name: a, match: {not: {any: [{}]}}}]")
@example(text="version: 1\nhead: " + "9" * 5000)
def test_any_text_loads_or_is_refused(tmp_path: Path, text: str) -> None:
    check(tmp_path / "policy.yaml", text)


@fuzz
@given(document=changed(), flow=st.booleans())
def test_any_structure_loads_or_is_refused(tmp_path: Path, document: object, *, flow: bool) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, width=40, allow_unicode=True)
    check(tmp_path / "policy.yaml", text)


def check(path: Path, text: str) -> None:
    data = text.encode(errors="surrogatepass")
    path.write_bytes(data)
    try:
        loaded = load_policy(path)
    except ConfigError as exc:
        check_message(path, str(exc), data)
    else:
        assert isinstance(loaded, Policy)


def test_what_is_mutated_loads_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("\n".join(LINES))
    assert load_policy(path).rules == load_policy(CONFIGS / "policy.example.yaml").rules
