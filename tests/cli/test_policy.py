from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from tests.policy.loading import CONFIGS, ISSUE
from tierfs.cli.main import main
from tierfs.cli.policy import explain as explain_module
from tierfs.common.errors import ExitCode
from tierfs.daemon.mountinfo import Mount

WHO = """\
version: 1
rules:
  - name: marked
    match: {xattr: {user.state: hot}}
    head: all
    promote: never
  - name: read
    match: {any: [{idle: "> 30d"}, {reads: {count: ">= 3", within: 1h}}]}
    promote: {reads: 3, within: 1h, to: 1MiB}
  - name: here
    match: {path: "/in/**", size: "= 5", age: "< 1h"}
    head: 8KiB
"""


EXPLAINED = """\
in/a
  marked   does not match: xattr user.state is not set, wanted "hot"
  read     open: idle is unknown, wanted > 30d; reads is unknown, wanted >= 3 within 1h
  here     matches: size is 5B, wanted = 5; age is 0s, wanted < 1h; path is /in/a, wanted "/in/**"
  => here  head 8KiB, evict heat, mirror async, promote never, class standard
{b}
  marked           does not match: xattr user.state is not set, wanted "hot"
  read             open: idle is unknown, wanted > 30d; reads is unknown, wanted >= 3 within 1h
  here             does not match: size is 1B, wanted = 5; path is /b, wanted "/in/**"
  => the defaults  head 64KiB, evict heat, mirror async, promote never, class standard

open: how often and when a file was read is not known here, so the rule is skipped; \
--idle and --reads assume it
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a policy and two files."""
    (tmp_path / "policy.yaml").write_text(WHO)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_text("12345")
    (tmp_path / "b").write_text("b")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def explain(*arguments: str) -> int:
    return main(["policy", "explain", "--policy", "policy.yaml", *arguments])


@pytest.mark.usefixtures("home")
def test_a_good_policy_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text(ISSUE)
    assert main(["policy", "check", "p.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "p.yaml: OK"
    assert lines[1:3] == [
        "  rule active-screens  head all, pinned, mirror async, promote never, class standard",
        "  rule archive         head none, evict heat, mirror async, promote never, class standard",
    ]
    assert lines[3].startswith(
        "  rule warm-up-fast    head 128KiB, evict heat, mirror async, promote"
    )
    assert lines[3].endswith("promote to all after 3 reads within 1h, class standard")
    assert (
        "200MiB/s, any number of files, 2 at a time, 22:00-06:00, suspended above 50%" in lines[6]
    )


@pytest.mark.parametrize("name", ["policy.example.yaml", "policy.minimal.yaml"])
def test_the_examples_are_good(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(CONFIGS / name)]) == 0
    assert capsys.readouterr().out.startswith(f"{CONFIGS / name}: OK\n")


@pytest.mark.usefixtures("home")
def test_limits_that_are_none_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text(
        "version: 1\nmover: {rate: unlimited, operations: 1500/s, suspend_on_errors: never}\n"
    )
    assert main(["policy", "check", "p.yaml"]) == 0
    said = capsys.readouterr().out
    assert "any rate, 1,500 files/s, 2 at a time, always, never suspended" in said
    assert "all files" in said


@pytest.mark.usefixtures("home")
def test_a_bad_policy_is_refused_with_every_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("version: 1\nhaed: 1\nmirror: x\n")
    for arguments in (["check", "p.yaml"], ["explain", "--policy", "p.yaml", "b"]):
        assert main(["policy", *arguments]) == ExitCode.USAGE
        lines = capsys.readouterr().err.splitlines()
        assert [line.partition(": ")[0] for line in lines] == ["p.yaml:2:1", "p.yaml:3:9"]


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft7Validator.check_schema(schema)
    assert Draft7Validator(schema).is_valid({"version": 1})
    assert not Draft7Validator(schema).is_valid({"version": 1, "haed": 1})


def test_a_verb_that_is_nearly_right_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "chek", "x"]) == ExitCode.USAGE
    assert "Did you mean 'check'?" in capsys.readouterr().err
    assert main(["policy", "frobnicate"]) == ExitCode.USAGE
    assert "No such command 'frobnicate'" in capsys.readouterr().err


def test_the_help_shows_verbs_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "--help"]) == 0
    said = capsys.readouterr().out
    assert "the policy that its volume file names" in said
    assert "  tierfs policy check policy.yaml\n" in said


def test_each_file_is_explained(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("--root", str(home), "in/a", str(home / "b")) == 0
    out = re.sub(r"age is [0-9.]+s", "age is 0s", capsys.readouterr().out)
    assert out == EXPLAINED.format(b=home / "b")


def test_what_is_not_known_can_be_assumed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("--root", str(home), "--idle", "40d", "b") == 0
    said = capsys.readouterr().out
    assert "read     matches: idle is 40d, wanted > 30d" in said
    assert "open:" not in said
    assert explain("--idle", "1d", "--reads", "2", "b") == 0
    assert "reads is 2, wanted >= 3 within 1h" in capsys.readouterr().out
    assert explain("--idle", "lots", "b") == ExitCode.USAGE
    assert '"lots" is not a length of time' in capsys.readouterr().err


def test_extended_attributes_are_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.setxattr(home / "b", "user.state", b"hot")
    assert explain("--json", "b", "in/a", "--reads", "3", "--idle", "1d") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["path"], first["rule"]) == ("b", "marked")
    assert first["settings"] == {
        "head": "all",
        "pin": False,
        "mirror": "async",
        "promote": None,
        "evict": "heat",
        "class": "standard",
    }
    assert first["rules"][0] == {
        "rule": "marked",
        "verdict": "matches",
        "findings": [
            {
                "key": "xattr user.state",
                "wanted": '"hot"',
                "negated": False,
                "found": '"hot"',
                "passed": True,
            }
        ],
    }
    assert second["rule"] == "read"
    assert second["settings"]["head"] == 65536
    assert second["settings"]["promote"] == {"reads": 3, "within_s": 3600.0, "to": 1048576}


def test_the_paths_of_a_policy_start_at_the_tierfs_mount(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount(home.resolve(), "fuse.tierfs", "/v.yaml", "rw", "rw")
    monkeypatch.setattr(explain_module, "mount_above", lambda _path: mount)
    assert explain("in/a") == 0
    assert "path is /in/a," in capsys.readouterr().out


def test_symbolic_links_on_the_way_are_followed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "link").symlink_to("in")
    assert explain("--root", "link", "link/a") == 0
    assert 'path is /a, wanted "/in/**"' in capsys.readouterr().out


def test_names_that_are_no_text_are_explained(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = b"in/\xff\n"
    (home / os.fsdecode(name)).write_text("12345")
    assert explain("--root", str(home), os.fsdecode(name)) == 0
    assert "in/\\xff\\n\n" in capsys.readouterr().out
    assert explain("--json", "--root", str(home), os.fsdecode(name)) == 0
    assert json.loads(capsys.readouterr().out)[0]["rule"] == "here"


def test_what_cannot_be_explained_hides_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "loop").symlink_to("b")
    os.mkfifo(home / "fifo")
    assert explain("--root", "in", "nope", "in", "b", "loop", "fifo", "in/a") == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out.startswith("in/a\n")
    assert said.err.splitlines() == [
        "tierfs: nope: No such file or directory; check the name",
        "in: not a regular file; policies apply to those only",
        f"{home}/b: not below {home / 'in'}; name another --root",
        "loop: not a regular file; policies apply to those only",
        "fifo: not a regular file; policies apply to those only",
    ]
