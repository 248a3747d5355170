from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierfs.common.errors import UsageError
from tierfs.daemon.options import (
    GROUPS,
    MountOptions,
    Privileges,
    for_kernel,
    known_words,
    parse_options,
    split_words,
)

pytestmark = pytest.mark.once

ROOT = Privileges(root=True, user_allow_other=False)
USER = Privileges(root=False, user_allow_other=False)
TRUSTED_USER = Privileges(root=False, user_allow_other=True)
ALWAYS = {"default_permissions"}


def test_nothing_is_all_defaults() -> None:
    assert parse_options([]) == parse_options([""]) == parse_options(["defaults"]) == MountOptions()


def test_flags_reach_their_fields() -> None:
    options = parse_options(["ro,noatime", "writeback,nofail,log_level=debug"])
    assert (options.read_only, options.noatime, options.writeback, options.nofail) == (True,) * 4
    assert options.log_level == "debug"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ro", None),
        ("fastpath", True),
        ("no_fastpath", False),
        ("no_fastpath,fastpath", True),
        ("fastpath,no_fastpath", False),
    ],
)
def test_the_fast_path_is_the_volume_file_s_unless_told(text: str, *, wanted: bool | None) -> None:
    assert parse_options([text]).fast_path is wanted


def test_only_what_the_kernel_knows_goes_to_it() -> None:
    options = parse_options(
        ["ro,relatime,writeback,no_fastpath,nofail,_netdev,x-systemd.automount"]
    )
    assert options.fuse == {"ro"}


@pytest.mark.parametrize(
    ("text", "fuse"),
    [
        ("ro,rw", {"rw"}),
        ("rw,ro", {"ro"}),
        ("noatime,relatime", set()),
        ("user", {"noexec", "nosuid", "nodev"}),
        ("user,exec,suid", {"exec", "suid", "nodev"}),
        ("exec,user", {"noexec", "nosuid", "nodev"}),
        ("owner", {"nosuid", "nodev"}),
        ("allow_other,allow_root", {"allow_root"}),
    ],
)
def test_the_last_of_a_group_wins(text: str, fuse: set[str]) -> None:
    assert parse_options([text]).fuse == fuse


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow_ohter", "unknown mount option 'allow_ohter'; did you mean 'allow_other'?"),
        ("zzzzz", "unknown mount option 'zzzzz'"),
        ("ro=1", "mount option 'ro' takes no value"),
        ("max_read=65536", "mount option 'max_read' is not supported: "),
        ("remount", "mount option 'remount' is not supported: unmount, and mount again"),
        ("log_level", "mount option 'log_level' takes one of debug, info, warning, error"),
        ("log_level=loud", "mount option 'log_level' takes one of debug, info, warning, error"),
        ("bind", "unknown mount option 'bind'"),
    ],
)
def test_a_wrong_option_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_options([f"rw,{text}"])
    assert str(caught.value).startswith(message)


def test_notes_to_other_programs_are_taken() -> None:
    assert parse_options(["x-systemd.requires=/nvme,X-a,comment=hello,user=ann,auto"]).fuse == set()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (",,ro,", ["ro"]),
        (r"comment=a\,b,ro", [r"comment=a\,b", "ro"]),
        ('x-note="a,b",ro', ['x-note="a,b"', "ro"]),
        ('x-note="a,ro', ['x-note="a', "ro"]),
    ],
)
def test_options_are_split_at_commas_alone(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@given(st.text())
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    try:
        parse_options([text])
    except UsageError:
        return


@given(st.lists(st.sampled_from(sorted({word for words in GROUPS.values() for word in words}))))
def test_at_most_one_of_a_group_is_left(words: list[str]) -> None:
    shown = set(parse_options([",".join(words)]).shown)
    for group in GROUPS.values():
        assert len(shown & set(group)) <= 1
        last = [word for word in words if word in group][-1:]
        assert shown >= set(last)


def test_root_gets_the_defaults_of_mount() -> None:
    options = for_kernel(parse_options([]), ROOT)
    assert options.fuse == ALWAYS | {"rw", "suid", "dev", "allow_other"}
    assert options.shown == ("rw", "suid", "dev", "allow_other", "default_permissions")


def test_what_root_asked_for_is_kept() -> None:
    options = for_kernel(parse_options(["ro,nosuid,nodev,allow_root"]), ROOT)
    assert options.fuse == ALWAYS | {"ro", "nosuid", "nodev", "allow_root"}
    assert options.read_only


def test_a_user_gets_no_more_than_fusermount_gives() -> None:
    plain = for_kernel(parse_options(["suid,dev"]), USER)
    assert plain.fuse == ALWAYS | {"rw", "nosuid", "nodev"}
    trusted = for_kernel(parse_options([]), TRUSTED_USER)
    assert trusted.fuse == plain.fuse | {"allow_other"}


@pytest.mark.parametrize("word", ["allow_other", "allow_root"])
def test_a_user_may_not_allow_others(word: str) -> None:
    with pytest.raises(UsageError, match="user_allow_other"):
        for_kernel(parse_options([word]), USER)
    assert word in for_kernel(parse_options([word]), TRUSTED_USER).fuse


def test_sloppy_mode_drops_what_is_unknown() -> None:
    assert known_words(["ro", "sloppy_thing", "max_read=4096", "noatime"]) == ["ro", "noatime"]


@pytest.mark.parametrize(
    ("text", "allowed"),
    [("user_allow_other\n", True), ("  user_allow_other \n", True), ("#user_allow_other\n", False)],
)
def test_privileges_read_fuse_conf(tmp_path: Path, text: str, *, allowed: bool) -> None:
    conf = tmp_path / "fuse.conf"
    conf.write_text(text)
    assert Privileges.current(conf).user_allow_other is allowed


def test_without_fuse_conf_nothing_is_allowed(tmp_path: Path) -> None:
    assert not Privileges.current(tmp_path / "none").user_allow_other


@pytest.mark.parametrize("given", [[], ["suid,dev"], ["dev,exec,suid"]])
def test_what_others_can_change_is_not_obeyed(given: list[str]) -> None:
    """Set-user-ID programs and devices of a volume with ``allow_untrusted``, not even for root."""
    root = Privileges(root=True, user_allow_other=True)
    options = for_kernel(parse_options(given), root, trusted=False)
    assert {"nosuid", "nodev"} <= options.fuse
    assert not {"suid", "dev"} & options.fuse
    assert {"nosuid", "nodev"} <= set(options.shown)
