"""The text of an expression to a tree, and what is said of mistakes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.query.compiling import compiled
from tierfs.query.expression import MAX_DEPTH, BadExpression, Condition, Node, parse
from tierfs.query.tree import All, Not, Some

pytestmark = pytest.mark.once


def shown(node: Node) -> str:
    """A tree with all of its parentheses."""
    if isinstance(node, Condition):
        values = " ".join(value.text for value in node.values)
        return " ".join(filter(None, (node.field.text, node.operator, values)))
    if isinstance(node, Not):
        return f"!({shown(node.part)})"
    return f" {'&' if isinstance(node, All) else '|'} ".join(f"({shown(p)})" for p in node.parts)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("size > 1MiB", "size > 1MiB"),
        ("size>1MiB", "size > 1MiB"),
        ("a and b or c and not d", "((a) & (b)) | ((c) & (!(d)))"),
        ("a AND (b OR c)", "(a) & ((b) | (c))"),
        ("not not a", "!(!(a))"),
        ("not (a or b) and c", "(!((a) | (b))) & (c)"),
        ('user.label = "two words"', "user.label = two words"),
        ("user.label = 'it''s'", "user.label = it's"),
        ("name = *.{tif,tiff}", "name = *.{tif,tiff}"),
        ("name = [!a]b*", "name = [!a]b*"),
        ("name in (a, 'b c', d*)", "name in a b c d*"),
        ("user.a is set", "user.a is set"),
        ("user.a is not set", "!(user.a is set)"),
        ("size = 1MiB..4MiB", "size = 1MiB..4MiB"),
        ("", ""),
    ],
)
def test_trees(text: str, tree: str) -> None:
    assert shown(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sise > 1MiB", 'column 1: there is no field "sise"; did you mean "size"?'),
        ("label = x", 'column 1: there is no field "label"; a tag is written "user.label"'),
        ("size", 'column 1: "size" needs a value; such as "size > 1MiB"'),
        ("size > 64K", 'column 8: "K" is not clear; write 64KiB (1024 bytes each) or 64kB'),
        ("size > 1MiB age > 1d", "column 13: 'age' does not continue the expression; join"),
        ("(size > 1MiB", "column 1: this ( is not closed; add )"),
        ("size > 1MiB)", "column 12: there is no ( for this"),
        ("pinned = yes", 'column 1: "pinned" has no value; write "pinned" or "not pinned"'),
        ("type = dir", 'column 8: "dir" is none of file, directory'),
        ("type in (file, lnk)", 'column 16: "lnk" is none of'),
        ("name < a", 'column 1: "name" cannot be compared by <'),
        ("size >", "column 7: a value is missing"),
        ("and", "column 1: a test begins with a field"),
        ("size > 1MiB and", "column 16: a test is missing"),
        ("name = 'a", "column 8: the quotes are not closed"),
        ("!pinned", "column 1: '!' means nothing here; write \"not\""),
        ("path = a", 'column 8: "a" must begin with / or **; write "**/a"'),
        ("trusted.x = 1", 'column 1: attributes such as "trusted.x" are not searched'),
        ("security.selinux is set", "are not searched"),
        ("owner = nobody-of-this-name", 'there is no user "nobody-of-this-name"'),
        ("mtime > yesterday", '"yesterday" is not a time'),
        ("size > 1MiB..2MiB", '"1MiB..2MiB" is a range; compare it by "="'),
        ("size = 2MiB..1MiB", 'is the wrong way round; write "1MiB..2MiB"'),
        ("tags = 1", "cannot be compared"),
    ],
)
def test_mistakes_have_a_column_and_a_hint(text: str, said: str) -> None:
    with pytest.raises(BadExpression) as caught:
        compiled(text, 0)
    lines = str(caught.value).splitlines()
    assert said in lines[0]
    assert lines[1] == f"  {text}"
    column = int(lines[0].partition("column ")[2].partition(":")[0])
    assert lines[2] == f"{' ' * (column + 1)}^"


def test_what_would_be_nested_too_deeply_is_refused() -> None:
    parse("(" * MAX_DEPTH + "pinned" + ")" * MAX_DEPTH)
    with pytest.raises(BadExpression, match="nested deeper"):
        parse("not " * 100_0 + "pinned")
    with pytest.raises(BadExpression, match="more than 200 tests"):
        parse(" or ".join(["pinned"] * 201))
    with pytest.raises(BadExpression, match="at most"):
        parse("pinned and " * 10_000)


WORDS = st.sampled_from(
    [
        "size",
        "name",
        "user.a",
        "image.width",
        "pinned",
        "and",
        "or",
        "not",
        "(",
        ")",
        "=",
        "!=",
        "<",
        ">=",
        "in",
        "is",
        "set",
        ",",
        "1MiB",
        "*.tif",
        "'x",
        '"y"',
        "7d",
        "2026-07",
        "file",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join)))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    with suppress(BadExpression):
        compiled(text, 10**18)


def test_parts_that_sql_decides_need_no_python() -> None:
    exact = compiled("size > 1 and (user.a = x or not mirrored)", 0)
    assert exact.rest is None
    mixed = compiled("size > 1 and (path = /a/** or user.a = x)", 0)
    assert mixed.rest is not None
    assert len(mixed.columns) == 2
    assert isinstance(parse("a or b"), Some)
