"""The page of the reference has the fields and the views that there are."""

from __future__ import annotations

import re

import pytest

from tests.query.expression_page import PAGE, rendered
from tests.query.expression_page import fields as rows
from tierfs.query.compiling import compiled
from tierfs.query.expression import BadExpression
from tierfs.query.fields import FIELDS

pytestmark = pytest.mark.once


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "run: python -m tests.query.expression_page"
    assert page.count("<!-- table:") == 2


def test_every_field_has_an_example_that_is_right() -> None:
    examples = re.findall(r"\| `([^`]*)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(examples) == len(list(rows())) - 3  # the heading, and two columns
    unknown = {"owner = lab", "group = imaging"}
    for example in examples:
        try:
            compiled(example, 0)
        except BadExpression:
            assert example in unknown
    for field in FIELDS:
        assert field.meaning.endswith(".")
