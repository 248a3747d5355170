"""Header facts in expressions: what is not known neither holds nor fails."""

from __future__ import annotations

import pytest

from tests.query.asking import ask
from tests.support.volumes import LooseVolume
from tierfs.common.errors import UsageError
from tierfs.fs.namespace import ROOT_OWNER
from tierfs.metadata.header_facts import FactState
from tierfs.metadata.inodes import ROOT

pytestmark = pytest.mark.once

NOW = 10**18
FACTS: dict[bytes, dict[str, int | float | str] | None] = {
    b"wide": {"image.width": 4096, "image.format": "PNG", "image.mode": "1", "a.b": 2.5},
    b"small": {"image.width": 100, "image.format": "JPEG"},
    b"sound": {"audio.rate": 44100},
    b"unread": None,
    b"changed": {"image.width": 4096},
}


@pytest.fixture
def known(small: LooseVolume) -> LooseVolume:
    for name, facts in FACTS.items():
        inode = small.fs.names.make(ROOT, name, 0o100644, ROOT_OWNER)
        if facts is not None:
            version = inode.version - (name == b"changed")
            state = FactState(inode.ino, version, "image", 1, None, 0)
            with small.index.transaction():
                small.index.header_facts.put(state, facts)
    small.close()
    return small


def names(volume: LooseVolume, expression: str) -> set[str]:
    found = ask(volume.settings.index, NOW, expression, columns=("name",))
    return {row[0] for row in found} - {"/", ""}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("image.width >= 2048", {"wide"}),
        ("image.width = 4096", {"wide"}),
        ("image.width = 50..200", {"small"}),
        ("image.width != 100", {"wide"}),
        ("not image.width = 100", {"wide"}),
        ("image.width is set", {"wide", "small"}),
        ("image.width is not set and type = file", {"sound", "unread", "changed"}),
        ("image.format = PNG", {"wide"}),
        ("image.format = *", {"wide", "small"}),
        ("image.format in (JPEG, GIF)", {"small"}),
        ("image.format > 5", set()),
        ("image.mode = 1", {"wide"}),
        ("a.b > 2.4 and a.b < 2.6", {"wide"}),
        ("audio.rate = 44100 or image.width < 200", {"sound", "small"}),
        ("not (image.width > 1 and audio.rate > 1)", set()),
    ],
)
def test_expressions(expression: str, found: set[str], known: LooseVolume) -> None:
    assert names(known, expression) == found


def test_a_value_leads_to_files_by_its_index(known: LooseVolume) -> None:
    index = known.settings.index
    for expression in ("image.width = 4096", "size = 0 and image.format in (PNG, GIF)"):
        ((lines,),) = ask(index, NOW, expression, explain=True)
        assert lines[0].startswith("rows: by the index of image.")
        assert names(known, expression) == {"wide"}


def test_a_fact_that_no_file_has_is_told_if_another_is_meant(known: LooseVolume) -> None:
    with pytest.raises(UsageError, match=r'no file has a fact "image.widht"; did you mean "image'):
        names(known, "size >= 0 and image.widht > 5")
    assert names(known, "tensor.count > 5") == set()


def test_facts_are_shown(known: LooseVolume) -> None:
    rows = ask(
        known.settings.index,
        NOW,
        "image.width is set",
        columns=("name", "image.width", "facts"),
        sort="image.width",
    )
    assert rows == [
        ["small", 100, {"image.format": "JPEG", "image.width": 100}],
        [
            "wide",
            4096,
            {"a.b": 2.5, "image.format": "PNG", "image.mode": "1", "image.width": 4096},
        ],
    ]
