"""Whatever the text, a file loads or is refused with places and hints: never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.policy.loading import CONFIGS
from tests.policy.policy_documents import changed
from tierfs.common.errors import ConfigError
from tierfs.policy.model import Policy
from tierfs.policy.tier_policy import load_policy
from tierfs.policy.volume_file import VolumeFile, load_volume_file

T = TypeVar("T")

fuzz = settings(
    max_examples=int(os.environ.get("TIERFS_HYPOTHESIS_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SIGNS = ["\n  ", ": ", "- ", "---\n", "...\n", "<<: ", "!!", "*a ", "&a ", "\\U", "\\0", "[::1]:1"]
CHARACTERS = "{}[]:,#&*!|>'\"%@`?-~/\\\t\r\n\0\ufeff\x85\u2028\ud7ff "

VOLUME = ["flash", "disk", "head", "log", "metrics", "listen", "~x", "64KiB", "12:30", "1e9", "yes"]
POLICY = (
    *("rules", "match", "name", "path", "size", "any", "not", "head", "all", "none", "window"),
    *("'> 30d'", "64KiB", "85%", "22:00-06:00", "'**/*'", "'/[a-'", "{}", "[]", "~", "1..2", "/s"),
    *"<=.",
)


def lines_of(name: str) -> list[str]:
    """An example of `configs` without its comments."""
    text = (CONFIGS / name).read_text()
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def texts(name: str, words: list[str] | tuple[str, ...]) -> st.SearchStrategy[str]:
    """The example with a few pieces replaced, its lines in any order, or anything like YAML."""
    lines, tokens = lines_of(name), st.sampled_from([*SIGNS, *words, *CHARACTERS])

    @st.composite
    def mutations(draw: st.DrawFn) -> str:
        text = "\n".join(lines)
        for _ in range(draw(st.integers(1, 5))):
            start = draw(st.integers(0, len(text)))
            end = draw(st.integers(start, min(start + 12, len(text))))
            text = text[:start] + draw(tokens | st.text(max_size=6)) + text[end:]
        return text

    @st.composite
    def shuffles(draw: st.DrawFn) -> str:
        chosen = draw(st.lists(st.sampled_from(lines), max_size=20))
        return "\n".join(" " * draw(st.integers(0, 6)) + line for line in chosen)

    yaml_like = st.lists(tokens | st.text(max_size=4), max_size=40).map("".join)
    return mutations() | shuffles() | yaml_like | st.text()


@fuzz
@given(text=texts("volume.example.yaml", VOLUME))
@example(text='a: "\\UFFFFFFFF"')
@example(text="&a [*a]")
def test_any_text_is_a_volume_file_or_refused(tmp_path: Path, text: str) -> None:
    check_volume(loaded(load_volume_file, tmp_path, text.encode(errors="surrogatepass")))


@fuzz
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_volume_file_or_refused(tmp_path: Path, data: bytes) -> None:
    check_volume(loaded(load_volume_file, tmp_path, data))


def check_volume(volume: object) -> None:
    if volume is not None:
        assert isinstance(volume, VolumeFile)
        assert volume.flash.is_absolute()
        assert volume.disk.is_absolute()


@fuzz
@given(text=texts("policy.example.yaml", POLICY))
@example(text="version: 1\nrules: [{name: a, match: {not: {any: [{}]}}}]")
@example(text="version: 1\nhead: " + "9" * 5000)
def test_any_text_is_a_policy_or_refused(tmp_path: Path, text: str) -> None:
    found = loaded(load_policy, tmp_path, text.encode(errors="surrogatepass"))
    assert isinstance(found, Policy | None)


@fuzz
@given(document=changed(), flow=st.booleans())
def test_any_structure_is_a_policy_or_refused(
    tmp_path: Path, document: object, *, flow: bool
) -> None:
    text = yaml.safe_dump(document, default_flow_style=flow, width=40, allow_unicode=True)
    found = loaded(load_policy, tmp_path, text.encode(errors="surrogatepass"))
    assert isinstance(found, Policy | None)


def loaded(load: Callable[[Path], T], directory: Path, data: bytes) -> T | None:
    """What the reader makes of the bytes, or None when it refuses them, as it should."""
    path = directory / "file.yaml"
    path.write_bytes(data)
    try:
        return load(path)
    except ConfigError as exc:
        check_message(path, str(exc), data)
        return None


def check_message(path: Path, message: str, data: bytes) -> None:
    lines = data.replace(b"\r", b"\n").count(b"\n") + 1
    assert "; " in message
    for diagnostic in message.split("\n"):
        assert diagnostic.isprintable(), diagnostic
        if ": and " not in diagnostic:
            line, column, _ = diagnostic.removeprefix(f"{path}:").split(":", 2)
            # NEL, LS and PS end a line for YAML, each at least two bytes long.
            assert 1 <= int(line) <= lines + len(data) // 2
            assert 1 <= int(column) <= len(data) + 2


def test_what_is_mutated_loads_as_it_stands(tmp_path: Path) -> None:
    volume = loaded(load_volume_file, tmp_path, "\n".join(lines_of("volume.example.yaml")).encode())
    policy = loaded(load_policy, tmp_path, "\n".join(lines_of("policy.example.yaml")).encode())
    assert volume is not None
    assert policy is not None
    assert volume.head == load_volume_file(CONFIGS / "volume.example.yaml").head
    assert policy.rules == load_policy(CONFIGS / "policy.example.yaml").rules
