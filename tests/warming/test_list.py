from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.base.errors import UsageError
from tierfs.warming.names import LONGEST, parse_list


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` cut into pieces of these sizes, and one with the rest."""
    cut = []
    for size in sizes:
        cut.append(data[:size])
        data = data[size:]
    return [piece for piece in [*cut, data] if piece]


def names_in(chunks: list[bytes], separator: bytes) -> list[bytes]:
    waiting = [*chunks, b""]
    return list(parse_list(lambda: waiting.pop(0), separator))


@given(
    st.lists(st.binary(max_size=8).map(lambda name: name.replace(b"\0", b"\n"))),
    st.lists(st.integers(1, 5)),
    st.sampled_from([b"", b"\0"]),
)
def test_names_come_whole_wherever_the_pieces_end(
    names: list[bytes], sizes: list[int], end: bytes
) -> None:
    data = b"\0".join(names) + end
    assert names_in(pieces(data, sizes), b"\0") == [name for name in names if name]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a b\n\n\xff\n", [b"a b", b"\xff"]),
        (b" a \r\n", [b" a \r"]),
    ],
)
def test_lines(data: bytes, names: list[bytes]) -> None:
    assert names_in([data] if data else [], b"\n") == names


def test_what_is_no_list_does_not_fill_the_memory() -> None:
    endless = parse_list(lambda: b"x" * 4096, b"\n")
    with pytest.raises(UsageError, match=f"more than {LONGEST} bytes"):
        next(endless)
