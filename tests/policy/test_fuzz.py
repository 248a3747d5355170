"""Whatever the text, a volume file loads or is refused with places and hints: never a traceback."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.policy.loading import CONFIGS, Loader
from tierfs.common.errors import ConfigError
from tierfs.policy.volume_file import VolumeFile, load_volume_file

EXAMPLE = (CONFIGS / "volume.example.yaml").read_text()
LINES = [line for line in EXAMPLE.splitlines() if line and not line.lstrip().startswith("#")]

fuzz = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SIGNS = ["\n  ", ": ", "- ", "---\n", "...\n", "<<: ", "!!", "*a ", "&a ", "\\U", "\\0", "[::1]:1"]
WORDS = ["flash", "disk", "head", "log", "metrics", "listen", "~x", "64KiB", "12:30", "1e9", "yes"]
CHARACTERS = "{}[]:,#&*!|>'\"%@`?-~/\\\t\r\n\0\ufeff\x85\u2028\ud7ff "

tokens = st.sampled_from([*SIGNS, *WORDS, *CHARACTERS])
yaml_like = st.lists(tokens | st.text(max_size=4), max_size=40).map("".join)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The example, without its comments, with a few pieces replaced."""
    text = "\n".join(LINES)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 12, len(text))))
        text = text[:start] + draw(tokens | st.text(max_size=6)) + text[end:]
    return text


@st.composite
def shuffles(draw: st.DrawFn) -> str:
    """Lines of the example in any order and number, differently indented."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=20))
    return "\n".join(" " * draw(st.integers(0, 3)) + line for line in lines)


@fuzz
@given(text=mutations() | shuffles() | yaml_like | st.text())
@example(text='a: "\\UFFFFFFFF"')
@example(text="&a [*a]")
def test_any_text_loads_or_is_refused(tmp_path: Path, text: str) -> None:
    check(tmp_path / "volume.yaml", text.encode(errors="surrogatepass"))


@fuzz
@given(data=st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(tmp_path: Path, data: bytes) -> None:
    check(tmp_path / "volume.yaml", data)


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        loaded = load_volume_file(path)
    except ConfigError as exc:
        check_message(path, str(exc), data)
    else:
        assert isinstance(loaded, VolumeFile)
        assert loaded.flash.is_absolute()
        assert loaded.disk.is_absolute()


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


def test_what_is_mutated_loads_as_it_stands(loader: Loader) -> None:
    assert (
        loader.load("\n".join(LINES)).head == load_volume_file(CONFIGS / "volume.example.yaml").head
    )
