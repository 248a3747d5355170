"""What the comparison of header facts calls wrong, and what unknown."""

from __future__ import annotations

import pytest

from tests.benchmarks.gathering import Compared, File, judge_one
from tests.facts.said import Said

FILE = File("image", "a.png", b"")
SAID: Said = {"image.width": 640, "image.mode": "L", "image.frames": 1}


def test_a_fact_is_equal_wrong_unknown_or_not_judged() -> None:
    found = Compared()
    facts = {"image.width": "640", "image.mode": "RGB", "image.format": "PNG"}
    judge_one(FILE, facts, SAID, found)
    assert found.equal == 1
    assert found.wrong == ["a.png (0 bytes): image.mode is 'RGB', not 'L'"]
    assert found.record()["unknown"] == {"image.frames": 1}
    assert found.record()["unjudged"] == {"image.format": 1}


@pytest.mark.parametrize("facts", [{}, {"image.width": "1"}])
def test_a_file_that_the_library_refuses_has_no_facts(facts: dict[str, str]) -> None:
    found = Compared()
    judge_one(FILE, facts, "OSError: no image", found)
    assert len(found.wrong) == len(facts)
