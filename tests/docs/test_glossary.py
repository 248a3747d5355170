"""The glossary and the code use the same words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT, read

ROW = re.compile(r"^\| (\*\*.+?) \| ", re.MULTILINE)
TERM = re.compile(r"\*\*([^*]+)\*\*")

OTHER_WORDS = {
    "wish": "target placement",
    "herald": "startup notifier",
    "spindle": "disk",
    "victim": "resident",
    "negative dentry": "negative entry",
    "callback into Python": "upcall",
    "passthrough": "forward",
}
"""Words for a term of the glossary that the code must not have beside it."""


def terms() -> list[str]:
    return [term for cell in ROW.findall(read("docs/glossary.md")) for term in TERM.findall(cell)]


def sources() -> Iterator[str]:
    for kind in ("*.py", "*.c", "*.h"):
        for path in (ROOT / "tierfs").rglob(kind):
            yield path.read_text(encoding="utf-8")


def uses(term: str, code: str) -> bool:
    """Whether it occurs, also as a name: ``StartupNotifier``, ``dirty_set``."""
    pattern = r"[\W_]*".join(re.escape(word) for word in re.split(r"[ -]", term))
    return re.search(rf"(?<![a-z]){pattern}", code, re.IGNORECASE) is not None


CODE = "\n".join(sources())


@pytest.mark.parametrize("term", sorted(set(terms())))
def test_the_code_uses_each_term_of_the_glossary(term: str) -> None:
    assert uses(term, CODE)


@pytest.mark.parametrize("word", OTHER_WORDS)
def test_the_code_has_no_other_word_for_a_term(word: str) -> None:
    assert OTHER_WORDS[word].lower() in read("docs/glossary.md").lower()
    assert not uses(word, CODE)
