"""Policies as structures of JSON, made up by hypothesis: right ones, and ones with changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

sizes = st.sampled_from(["64KiB", " 64 KiB", "0.5MiB", "1GiB", 4096, 65536])
durations = st.sampled_from(["1s", "90 s", "5min", "1.5h", "7d", "2w", "1y"])
numbers = st.integers(0, 10**6)
words = st.from_regex("[A-Za-z][A-Za-z0-9._-]{0,9}", fullmatch=True).filter(
    lambda word: word.lower() not in {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
)
signs = st.sampled_from(["<= ", ">=", "> ", "= "])


def compared(quantity: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.builds(lambda sign, number: f"{sign}{number}", signs, quantity)


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3)


def some_of(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=values)


paths = st.sampled_from(["**", "/a/**", "**/*.{tif,png}", "/[a-c]?/x", "/b/**/c"])
accounts = st.sampled_from(["root", 0, 1000, "1000"])
values = st.sampled_from(["archived", "*", "", "yes", 12, 1.5, True])

conditions = some_of(
    path=one_or_more(paths),
    size=compared(sizes.filter(lambda size: size != 0)) | st.just("4KiB..1MiB"),
    age=compared(durations),
    idle=compared(durations) | st.just("1d .. 2d"),
    owner=one_or_more(accounts),
    group=one_or_more(accounts),
    xattr=st.dictionaries(
        st.sampled_from(["user.a", "trusted.b c", "security.ü"]), one_or_more(values), min_size=1
    ),
    fact=st.sampled_from([">= 2048", "0.5..2", 12]).map(lambda width: {"image.width": width}),
    reads=st.fixed_dictionaries({"count": compared(numbers), "within": durations}),
).filter(bool)

matches = st.recursive(
    conditions,
    lambda inner: some_of(
        all=st.lists(inner, min_size=1, max_size=2),
        any=st.lists(inner, min_size=1, max_size=2),
        owner=accounts,
        **{"not": inner},
    ).filter(bool),
    max_leaves=4,
)

promotions = st.just("never") | st.fixed_dictionaries(
    {"reads": st.integers(1, 10**6), "within": durations}, optional={"to": st.just("all")}
)
settings = {
    "head": sizes | st.sampled_from(["none", "4KiB"]),
    "pin": st.sampled_from([False]),
    "mirror": st.sampled_from(["async", "sync", "never"]),
    "promote": promotions,
    "evict": st.sampled_from(["heat", "lru", "never"]),
    "class": st.just("standard"),
}

percents = st.sampled_from(["1%", "50.5 %", "74.999%"])
windows = st.sampled_from(["22:00-06:00", "mon-fri 1:00-2:00", "Sat, sun 00:00-24:00"])
flash = some_of(
    high_watermark=st.sampled_from(["75.5%", "100%", "100.0%", "900 GiB"]),
    capacity=st.sampled_from(["1TiB", 2**40]),
    low_watermark=percents,
    reserve=sizes | st.just(0),
    evict_order=st.sampled_from([["standard"], ["a", "standard", "b.c"]]),
)
mover = some_of(
    rate=st.sampled_from(["unlimited", "200MiB/s", "1 GB / s"]),
    operations=st.sampled_from(["unlimited", "5/s"]),
    concurrency=st.integers(1, 64),
    window=one_or_more(windows),
    suspend_on_errors=st.just("never") | percents,
)
rules = st.lists(
    st.fixed_dictionaries({"name": words, "match": matches}, optional=settings),
    max_size=3,
    unique_by=lambda rule: rule["name"],
)

documents: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"version": st.sampled_from([1, "1"])},
    optional={**settings, "flash": flash, "mover": mover, "rules": rules},
)
"""Policies without a mistake that JSON Schema can see."""

odd: st.SearchStrategy[Any] = (
    st.sampled_from(["", " ", "all", "none", "never", "unlimited", "64K", "> 4MiB", "4MiB..1MiB"])
    | st.sampled_from(["85%", "0%", "100.5%", "22:00-22:00", "/a[", "**", "5m", "1000000/s", "a b"])
    | st.sampled_from(["200MiB/s", "1B/s", "<5", "lots", "true", "1e3", "010", "12:30", "64KiB\n"])
    | st.sampled_from([None, True, False, 0, -1, 3, 5000, 2**63, 1.5, -0.25, [], {}, [[]], [None]])
    | st.text(max_size=5)
    | st.integers()
    | st.builds(lambda value: [value], sizes | words | paths)
    | conditions
)
keys = st.sampled_from(["head", "pin", "match", "path", "size", "name", "any", "haed", "to", "x"])


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A right policy with one to three changes anywhere in it."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(_places(document))))
        _change(draw, document, place)
    return document


def _places(value: object, path: Path = ()) -> Iterator[Path]:
    """Every mapping's key and list's item, and each mapping itself for a new key."""
    if isinstance(value, dict):
        yield (*path, "")
        for key, inner in value.items():
            yield (*path, key)
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield (*path, index)
            yield from _places(inner, (*path, index))


def _change(draw: st.DrawFn, document: dict[str, Any], place: Path) -> None:
    *way, last = place
    inner: Any = document
    for step in way:
        inner = inner[step]
    if last == "":
        inner[draw(keys)] = copy.deepcopy(draw(odd))
    elif draw(st.integers(0, 4)) == 0:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(draw(odd))
