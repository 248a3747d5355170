from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tierfs.policy.glob import BadGlob, path_glob, text_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("/a", ["/a"], ["/b", "/a/b", "/x/a", "/a "]),
        ("/a/**", ["/a/b", "/a/b/c", "/a/.b"], ["/a", "/ab", "/b/a/c"]),
        ("/a/*", ["/a/b", "/a/.b"], ["/a/b/c", "/a"]),
        ("**/*.tif", ["/a.tif", "/b/c/a.tif", "/.tif"], ["/a.tiff", "/a.tif/b", "/aXtif"]),
        ("**/.cache/**", ["/.cache/a", "/b/.cache/a/c"], ["/.cache", "/x.cache/a"]),
        ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b"], ["/ab", "/a/xb", "/a/b/c", "/b"]),
        ("/a/**/b/**/c", ["/a/b/c", "/a/b/b/c", "/a/x/b/y/c"], ["/a/c", "/a/bc", "/a/b"]),
        ("/a/**/*/c", ["/a/b/c", "/a/b/x/c"], ["/a/c"]),
        ("**", ["/a", "/a/b"], []),
        ("/**", ["/a", "/a/b"], []),
        ("/*", ["/a"], ["/a/b"]),
        ("/a?c", ["/abc", "/aßc", "/a\udcffc"], ["/ac", "/abbc", "/a/c"]),
        ("/[abc]", ["/a", "/c"], ["/d", "/ab"]),
        ("/[a-c]x", ["/ax", "/cx"], ["/dx"]),
        ("/[!a-c]", ["/d", "/-"], ["/a"]),
        ("/a[!b]c", ["/axc"], ["/abc", "/a/c"]),
        ("/[]a]", ["/]", "/a"], ["/b"]),
        ("/[a-]", ["/a", "/-"], ["/b"]),
        ("/[[&&~]", ["/[", "/&", "/~"], ["/a"]),
        ("/*.{tif,tiff}", ["/a.tif", "/a.tiff"], ["/a.ti", "/a.{tif,tiff}"]),
        ("/{a,b/c}/d", ["/a/d", "/b/c/d"], ["/b/d"]),
        ("/a{,.gz}", ["/a", "/a.gz"], ["/a."]),
        (r"/\*", ["/*"], ["/a"]),
        (r"/\{a,b\}", ["/{a,b}"], ["/a"]),
        (r"/\[a]", ["/[a]"], ["/a"]),
        ("/a.b+(c)$", ["/a.b+(c)$"], ["/aXb+(c)$"]),
        ("/a\nb*", ["/a\nb", "/a\nb\n"], ["/a"]),
    ],
)
def test_a_pattern_of_paths_matches_what_it_should(
    pattern: str, fits: list[str], fits_not: list[str]
) -> None:
    glob = path_glob(pattern)
    assert [path for path in fits if not glob.matches(path)] == []
    assert [path for path in fits_not if glob.matches(path)] == []


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("archived", ["archived"], ["Archived", "archived "]),
        ("*", ["", "a/b", "\n"], []),
        ("a*z", ["az", "a/b/z"], ["a", "abz\n"]),
        ("[!a]", ["/", "b"], ["a"]),
        ("{new,old}-?", ["new-1", "old-/"], ["mid-1"]),
        ("", [""], ["a"]),
    ],
)
def test_a_pattern_of_values_matches_what_it_should(
    pattern: str, fits: list[str], fits_not: list[str]
) -> None:
    glob = text_glob(pattern)
    assert [text for text in fits if not glob.matches(text)] == []
    assert [text for text in fits_not if glob.matches(text)] == []


@pytest.mark.parametrize(
    ("pattern", "said", "hint"),
    [
        ("*.tif", "must begin with / or **", 'write "**/*.tif" for any directory'),
        ("", "must begin with / or **", "such as"),
        ("/a//b", "has an empty name in it", "one slash"),
        ("/a/", "has an empty name in it", '"/**" for all below'),
        ("/", "has an empty name in it", "one slash"),
        ("/a/../b", 'holds "..", which no stored path does', "without it"),
        ("/a**", "has ** beside other characters", '"**" alone'),
        ("/[a", "has a [ without a ]", "close it"),
        ("/[a/b]", "has a [ without a ]", "close it"),
        ("/[z-a]", 'has the range "z-a" the wrong way round', '"a-z"'),
        ("/{a", "has a { without a }", "close it"),
        ("/a}", "has a } without a {", "open it"),
        ("/{a,{b,c}}", "has a { inside {...}", "a list of patterns"),
        ("/a\\", "ends in a backslash", "write two"),
        ("/" + "{a,b}" * 7, "stands for more than 100 patterns", "a list"),
        ("/" + "a" * 4096, "is longer than 4096 characters", "no path"),
    ],
)
def test_what_is_no_pattern_is_explained(pattern: str, said: str, hint: str) -> None:
    with pytest.raises(BadGlob, match=re.escape(said)) as caught:
        path_glob(pattern)
    assert hint in caught.value.hint


@pytest.mark.parametrize("pattern", ["**", "/**", "/**/*", "**/*"])
def test_what_matches_everything_says_so(pattern: str) -> None:
    assert path_glob(pattern).everything


def test_many_stars_come_to_an_end() -> None:
    name = "a" * 250
    assert not path_glob("/" + "*a" * 60 + "b").matches("/" + name)
    assert not path_glob("/**/" + "a/**/" * 60 + "b").matches("/a" * 2000)
    assert not text_glob("*a" * 60 + "b").matches("a" * 4000)


def naive(names: list[str], path: list[str]) -> bool:
    """The definition of a path's pattern, word for word and slowly."""
    if not names:
        return not path
    if names[0] == "**":
        rest = names[1:]
        if not rest:
            return bool(path)
        return any(naive(rest, path[start:]) for start in range(len(path) + 1))
    return bool(path) and naive_name(names[0], path[0]) and naive(names[1:], path[1:])


def naive_name(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(naive_name(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return bool(name) and pattern[0] in {"?", name[0]} and naive_name(pattern[1:], name[1:])


name_patterns = st.just("**") | st.text("ab*?", min_size=1, max_size=5).filter(
    lambda name: "**" not in name
)


@given(
    names=st.lists(name_patterns, min_size=1, max_size=5),
    path=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
)
@example(names=["**", "**", "a"], path=["a"])
@example(names=["**", "a", "**", "a*b", "**"], path=["a", "aab", "ab", "b"])
def test_fits_what_the_definition_says(names: list[str], path: list[str]) -> None:
    glob = path_glob("/" + "/".join(names))
    assert glob.matches("/" + "/".join(path)) == naive(names, path)


@given(pattern=st.text("ab*?", max_size=7), text=st.text("ab/", max_size=7))
def test_values_fit_what_the_definition_says(pattern: str, text: str) -> None:
    assert text_glob(pattern).matches(text) == naive_name(pattern, text)


@given(text=st.text("/ab*?[]{}!^-,\\.&~|", max_size=20))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    for compiler in (path_glob, text_glob):
        with suppress(BadGlob):
            compiler(text).matches("/a/b")
