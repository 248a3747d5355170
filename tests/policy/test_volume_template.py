from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.policy.loading import Loader
from tierfs.common.errors import ConfigError
from tierfs.common.units import GIB, KIB
from tierfs.policy.volume_file import DEFAULT_TIERING_MEMORY
from tierfs.policy.volume_template import render_volume_file


def test_what_is_written_reads_back(loader: Loader) -> None:
    text = render_volume_file(flash=Path("/nvme/a"), disk=Path("/raid/a"), head=128 * KIB)
    settings = loader.load(text)
    assert (settings.flash, settings.disk) == (Path("/nvme/a"), Path("/raid/a"))
    assert settings.head == 128 * KIB
    assert settings.index == Path("/nvme/a/index.db")
    assert "\nhead: 128KiB\n" in text


def test_an_index_elsewhere_is_written(loader: Loader) -> None:
    index = Path("/ssd/index file.db")
    text = render_volume_file(flash=Path("/f"), disk=Path("/d"), head=4 * KIB, index=index)
    assert loader.load(text).index == index


def test_the_commented_keys_are_right_as_well(loader: Loader) -> None:
    text = render_volume_file(flash=Path("/f"), disk=Path("/d"), head=64 * KIB)
    settings = loader.load(re.sub(r"(?m)^#(?=\w+: )", "", text))
    assert settings.metrics_listen == ("127.0.0.1", 9469)
    assert settings.index == Path("/f/index.db")
    assert settings.policy == loader.path.parent / "policy.yaml"
    assert settings.access_log is not None
    assert settings.tiering_memory == DEFAULT_TIERING_MEMORY


names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in {".", ".."})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parent=st.sampled_from(["/mnt/flash", ".", "sub dir"]),
    name=names,
    pages=st.integers(1, GIB // (4 * KIB)),
)
def test_any_name_and_head_reads_back(loader: Loader, parent: str, name: str, pages: int) -> None:
    flash = Path(parent) / name
    head = pages * 4 * KIB
    read = loader.load(render_volume_file(flash=flash, disk=Path("/no/disk"), head=head))
    assert read.flash == loader.path.parent / flash
    assert read.head == head


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not UTF-8, so no YAML file can name it"):
        render_volume_file(flash=Path("/a\udcff"), disk=Path("/d"), head=64 * KIB)
