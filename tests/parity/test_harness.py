"""The harness itself: what it must notice, it notices."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.parity import registry
from tests.parity.exceptions import EXCEPTIONS, WITHOUT_FAST_PATH, Exception_
from tests.parity.harness import Case, Place
from tests.parity.places import Trio
from tests.parity.test_parity import ALL, compare, difference

LEAST = 600
"""Cases that the suite promises."""


def test_there_are_enough_cases() -> None:
    assert len(ALL) >= LEAST


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("other"))


def one_of(place: Place) -> object:
    return place.path.name


@pytest.mark.parametrize(("wrong", "said"), [(1, "mount with the"), (2, "mount without the")])
def test_a_difference_of_either_mount_fails(
    place: Place, other: Place, wrong: int, said: str
) -> None:
    places = [place, place, place]
    places[wrong] = other
    with pytest.raises(
        pytest.fail.Exception, match=rf"some\.case\nthe {said} fast path:\nat the top"
    ):
        compare(Case("some.case", one_of), *places)


def test_a_listed_case_must_differ(
    place: Place, other: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXCEPTIONS, "some.case", Exception_("kernel", "for this test"))
    compare(Case("some.case[a=1]", one_of), place, other, other)
    with pytest.raises(pytest.fail.Exception, match=r"without the fast path: .* agrees"):
        compare(Case("some.case", one_of), place, other, place)


def test_what_pyfuse3_cannot_do_may_differ_without_the_fast_path(
    place: Place, other: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WITHOUT_FAST_PATH, "some.case", Exception_("binding", "for this test"))
    compare(Case("some.case", one_of), place, place, other)
    with pytest.raises(pytest.fail.Exception):
        compare(Case("some.case", one_of), place, other, other)


def test_a_case_that_fails_natively_is_wrong(place: Place) -> None:
    def fails(_place: Place) -> object:
        raise OSError(errno.EBUSY, "busy")

    with pytest.raises(AssertionError, match="EBUSY"):
        compare(Case("some.case", fails), place, place, place)


def test_differences_say_where() -> None:
    found = difference({"a": (1, [2, 3])}, {"a": (1, [2, 4])})
    assert found == "at ['a'][1][1]: ext4 3, the mount 4"


def test_parameters_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Case] = {}
    monkeypatch.setattr(registry, "CASES", made)
    registry.case.each(mode=[0o644, 0o755], how=["x", "y"])(one_of)
    with pytest.raises(ValueError, match="two cases"):
        registry.case.each(mode=[0o644], how=["x"])(one_of)
    base = "test_harness.one_of"
    assert list(made) == [
        f"{base}[mode={mode}-how={how}]" for mode in ("0o644", "0o755") for how in "xy"
    ]
    assert made[f"{base}[mode=0o755-how=y]"].parameters == {"mode": 0o755, "how": "y"}


@pytest.mark.parametrize("index", [0, 1])
def test_a_mount_that_was_taken_away_is_mounted_again(shared_trio: Trio, index: int) -> None:
    """Else the cases that follow a case that hung would try the empty directory below."""
    taken = shared_trio.mounts[index]
    taken.unmount()
    with shared_trio.fresh() as (_, *mounts):
        assert taken.is_mounted()
        assert mounts[index].path.stat().st_dev == taken.path.stat().st_dev


def test_what_a_call_touches(place: Place) -> None:
    path = place.file("file", b"content")
    os.link(path, place / "link")
    assert place.touched(["file"], os.chmod, path, 0o600) == {"file": ("ctime", "mode")}
    assert place.touched(["file"], os.utime, path, ns=(1, 2)) == {
        "file": ("atime", "mtime", "ctime")
    }
    assert place.touched(["file", "link"], os.unlink, path) == {
        "file": ("gone",),
        "link": ("ctime", "nlink"),
    }
    assert place.touched(["file"], os.mkdir, path) == {"file": ("appeared",)}
    assert place.touched(["file"], os.mkdir, path) == {"error": "EEXIST", "file": ()}
    assert place.touched(["link"], os.rename, place.file("new"), place / "link") == {
        "link": ("replaced",)
    }


def test_a_tree_shows_everything(place: Place) -> None:
    os.link(place.file("a", b"content"), place / "b")
    place.symlink("c", "nowhere")
    os.setxattr(place / "a", "user.label", b"value")
    tree = place.tree()
    assert list(tree) == [".", "a", "b", "c"]
    assert tree["b"].same_as == "a"
    assert tree["c"].content == "nowhere"
    assert ("user.label", b"value") in tree["b"].xattrs
    before = tree["a"].content
    (place / "a").write_bytes(b"contend")
    assert place.tree()["a"].content != before


def test_children_report(place: Place) -> None:
    assert place.in_child(os.getuid) == 0
    assert place.as_user(1000, 2000, [3000], credentials) == (1000, 2000, [3000])
    place.file("secret", mode=0o600)
    assert place.as_user(1000, 1000, [], os.open, "/proc/1/mem", os.O_RDONLY) == "EACCES"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        place.in_child(lambda: 1 // 0)


@pytest.mark.parametrize(("capability", "result"), [(3, None), (1, "EPERM")])
def test_children_have_the_capabilities_named(
    place: Place, capability: int, result: str | None
) -> None:
    """CAP_FOWNER (3) changes the mode of another's file, CAP_DAC_OVERRIDE (1) does not."""
    path = place.file("file")
    with place.opened("file") as fd:
        found = place.as_user(1000, 1000, [], os.fchmod, fd, 0o600, capabilities=[capability])
    assert found == result
    assert path.stat().st_mode & 0o777 == (0o600 if result is None else 0o644)


def credentials() -> tuple[int, int, list[int]]:
    return os.getuid(), os.getegid(), os.getgroups()
