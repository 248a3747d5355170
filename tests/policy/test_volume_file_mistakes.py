from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.loading import GOOD, Loader

TEN_MISTAKES = """\
version: 1
flsh: /nvme
disk:
head: 5000
head: 64KiB
index: 12
policy: ~no-such-user/p
metrics: {listen: 9469, pot: 1}
log: {format: jsn, level: INFO}
"""
TEN_DIAGNOSTICS = """\
2:1: unknown key "flsh" in the volume file; did you mean "flash"?
3:6: "disk" has no value; write, for example, "disk: /raid/images"
4:7: "head" must be a multiple of 4KiB, not "5000"; write, for example, "head: 64KiB"
5:1: "head" is given twice, first on line 4; keep one of the two
6:8: "index" must be a path, but YAML reads "12" as int; put the value in quotes
7:9: "policy" names a home directory that is not known: "~no-such-user/p"; write the path out
8:19: "listen" must be HOST:PORT, not "9469"; write "127.0.0.1:9469"
8:25: unknown key "pot" in "metrics"; known keys: listen
9:15: "format" must be one of text, json, journald, not "jsn"; did you mean "json"?
9:27: "level" must be one of debug, info, warning, error, not "INFO"; did you mean "info"?
"""


def test_ten_mistakes_are_reported_at_once_each_at_its_place(loader: Loader) -> None:
    assert loader.diagnostics(TEN_MISTAKES) == TEN_DIAGNOSTICS.splitlines()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # keys
        ("flash: /a\ndisk: /b", '1:1: "version" is missing from the volume file; add a line such'),
        ("{}", '1:1: "disk" is missing'),
        (f"{GOOD}zzz: 1", '4:1: unknown key "zzz" in the volume file; known keys: version, flash'),
        (f"{GOOD}Head: 4KiB", '4:1: unknown key "Head" in the volume file; did you mean "head"?'),
        (f"{GOOD}<<: {{head: 1}}", '4:1: unknown key "<<"'),
        (f"{GOOD}? [a]\n: 1", '4:3: a key must be a single word; write "key: value"'),
        (f"{GOOD}? {{a: 1}}\n: 1", "4:3: a key must be a single word"),
        (f"{GOOD}disk: /c", '4:1: "disk" is given twice, first on line 3'),
        # versions
        ("version: 0\nflash: /a\ndisk: /b", '1:10: "version" must be 1, not "0"'),
        ("version: one\nflash: /a\ndisk: /b", '1:10: "version" must be 1, not "one"'),
        ("version: 1.0\nflash: /a\ndisk: /b", '1:10: "version" must be 1, not "1.0"'),
        ("version: [1]\nflash: /a\ndisk: /b", '1:10: "version" must be a single value, not a list'),
        # paths
        (f"{GOOD}index: ''", '4:8: "index" is an empty path'),
        (f"{GOOD}index: {{a: b}}", '4:8: "index" must be a single value, not a mapping'),
        (f"{GOOD}index: yes", '4:8: "index" must be a path, but YAML reads "yes" as bool'),
        (f'{GOOD}index: "a\\0b"', '4:8: "a\\x00b" holds a character that no name can'),
        (f'{GOOD}index: "\\udcff"', '4:8: "\\udcff" holds a character that no name can'),
        (f"{GOOD}index: ~", '4:8: "index" has no value; give it one, or remove the key'),
        # sizes
        (f"{GOOD}head: 2KiB", '4:7: "head" must be 4KiB to 1GiB, not "2KiB"'),
        (f"{GOOD}head: 2GiB", '4:7: "head" must be 4KiB to 1GiB, not "2GiB"'),
        (f"{GOOD}head: 64K", '4:7: "head" is wrong: "K" is not clear; write 64KiB (1024 bytes'),
        (f"{GOOD}head: lots", '4:7: "head" is wrong: "lots" is not a size; write a number and'),
        (f"{GOOD}head: 4KiB\n\n  b", '4:7: "head" is wrong: "4KiB?b" is not a size'),
        # addresses
        (f"{GOOD}metrics: 9469", '4:10: "metrics" must hold keys of its own, each with a value'),
        (f"{GOOD}metrics: {{listen: 9469}}", 'not "9469"; write "127.0.0.1:9469"'),
        (f"{GOOD}metrics: {{listen: ':9469'}}", "has no such host"),
        (f"{GOOD}metrics: {{listen: 'a:0'}}", "must have a port from 1 to 65535, not 0"),
        (f"{GOOD}metrics: {{listen: 'a:65536'}}", "must have a port from 1 to 65535, not 65536"),
        (f"{GOOD}metrics: {{listen: 127.0.0.256:1}}", '"listen" has no such host: Octet 256'),
        (f"{GOOD}metrics: {{listen: '[::g]:1'}}", '"listen" has no such host'),
        (f"{GOOD}metrics: {{listen: 'a_b:1'}}", '"listen" has no such host'),
        (f"{GOOD}metrics: {{listen: [a, b]}}", 'not a list; write "[::1]:9469" in quotes'),
        (f"{GOOD}metrics: {{listen: '::1:9'}}", "IPv6 address in brackets and the whole in quotes"),
        # logs
        (f"{GOOD}log: {{format: xml}}", 'not "xml"; write, for example, "format: json"'),
        (
            f"{GOOD}log: {{format: journald, file: /var/log/x}}",
            '4:31: "file" has no use with format journald; remove it, or choose another format',
        ),
    ],
)
def test_a_mistake_is_named_with_its_place_and_a_hint(loader: Loader, text: str, said: str) -> None:
    assert any(said in line for line in loader.diagnostics(text)), loader.diagnostics(text)


def test_a_newer_format_is_the_only_complaint_about_its_file(loader: Loader) -> None:
    (line,) = loader.diagnostics("version: 2\ntiers: [a, b, c]\n")
    what, hint = line.split("; ")
    assert what == "1:10: the file is version 2, but this tierfs reads version 1 only"
    assert hint == "use a newer tierfs, one that reads version 2"


@pytest.mark.parametrize(
    ("flash", "disk", "said"),
    [
        ("/a", "/a", '3:7: "flash" and "disk" are the same directory, /a'),
        ("/a", "/a/", '"flash" and "disk" are the same directory'),
        ("/a", "/b/../a", '"flash" and "disk" are the same directory'),
        ("/a", "/a/b", '3:7: "disk" is inside "flash", /a; give each its own directory'),
        ("/a/b/c", "/a", '"flash" is inside "disk", /a'),
        ("/", "/a", '"disk" is inside "flash", /'),
    ],
)
def test_flash_and_disk_must_be_apart(loader: Loader, flash: str, disk: str, said: str) -> None:
    lines = loader.diagnostics(f"version: 1\nflash: {flash}\ndisk: {disk}\n")
    assert any(said in line for line in lines), lines


def test_neighbours_with_a_common_beginning_are_apart(loader: Loader) -> None:
    assert loader.load("version: 1\nflash: /a/b\ndisk: /a/bc\n").disk == Path("/a/bc")


def test_a_symbolic_link_does_not_hide_that_tiers_are_nested(
    loader: Loader, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (line,) = loader.diagnostics("version: 1\nflash: real\ndisk: link/inner\n")
    assert '"disk" is inside "flash"' in line


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("index: volume.yaml", '4:8: "index" is the same file as the volume file'),
        ("index: a\npolicy: ./a", '5:9: "policy" is the same file as "index"'),
        ("policy: a\nlog: {file: a}", '5:13: "file" is the same file as "policy"'),
        ("index: /nvme/images", '4:8: "index" must be a file, but "flash" makes /nvme/images'),
        ("index: /raid", '4:8: "index" must be a file, but "disk" makes /raid a directory'),
        ("log: {file: /}", '4:13: "file" must be a file, but "flash" makes / a directory'),
    ],
)
def test_no_file_serves_two_purposes(loader: Loader, more: str, said: str) -> None:
    lines = loader.diagnostics(GOOD + more)
    assert any(line.startswith(said) for line in lines), lines


def test_a_flood_of_mistakes_is_cut_short(loader: Loader) -> None:
    lines = loader.diagnostics(GOOD + "".join(f"k{number}: 1\n" for number in range(1000)))
    assert len(lines) == 101
    assert lines[-1] == " and 900 more; mend these first"
