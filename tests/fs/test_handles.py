"""Lookups by number: ``.``, ``..`` and ``/``, which the kernel asks for a file handle."""

from __future__ import annotations

import errno

import pytest

from tests.fs.calls import DIRECTORY, FIFO, FILE, SYMLINK, fails, make
from tests.support.volumes import LooseVolume
from tierfs.metadata.inodes import ROOT


@pytest.mark.parametrize("mode", [FILE, DIRECTORY, SYMLINK, FIFO])
def test_an_inode_is_found_by_its_number_whatever_its_name(small: LooseVolume, mode: int) -> None:
    folder = make(small, b"folder", DIRECTORY).ino
    ino = make(small, b"a", mode).ino
    small.fs.names.rename(ROOT, b"a", folder, b"b")
    small.reopen()
    for itself in (b".", b"/"):
        assert small.fs.names.lookup(ino, itself) == small.fs.attributes.get(ino)


def test_a_directory_leads_to_the_one_that_it_is_in(small: LooseVolume) -> None:
    upper = make(small, b"upper", DIRECTORY).ino
    other = make(small, b"other", DIRECTORY).ino
    inner = make(small, b"inner", DIRECTORY, upper).ino
    assert small.fs.names.lookup(inner, b"..").ino == upper
    small.fs.names.rename(upper, b"inner", other, b"moved")
    small.reopen()
    assert small.fs.names.lookup(inner, b"..").ino == other
    assert small.fs.names.lookup(other, b"..").ino == ROOT
    assert small.fs.names.lookup(ROOT, b"..").ino == ROOT


def test_only_a_directory_leads_further(small: LooseVolume) -> None:
    with fails(errno.ENOTDIR):
        small.fs.names.lookup(make(small, b"file").ino, b"..")


@pytest.mark.parametrize("number", [12345, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("name", [b".", b"..", b"/"])
def test_a_number_that_no_inode_has(small: LooseVolume, number: int, name: bytes) -> None:
    with fails(errno.ESTALE):
        small.fs.names.lookup(number, name)


def test_what_has_no_name_any_longer_does_not_come_back(small: LooseVolume) -> None:
    """Its objects are freed as soon as the kernel forgets it, which nothing may put off."""
    file, folder = make(small, b"file").ino, make(small, b"folder", DIRECTORY).ino
    small.fs.names.unlink(ROOT, b"file")
    small.fs.names.rmdir(ROOT, b"folder")
    for ino, name in ((file, b"."), (folder, b".")):
        with fails(errno.ESTALE):
            small.fs.names.lookup(ino, name)
    small.fs.names.forget(file)
    small.fs.reclaimer.drain()
    with fails(errno.ESTALE):
        small.fs.names.lookup(file, b".")


def test_it_holds_a_reference(small: LooseVolume) -> None:
    """So a file that is unlinked then stays until it is forgotten."""
    ino = make(small, b"file").ino
    small.fs.data.write(ino, 0, b"bytes")
    small.reopen()
    small.fs.names.lookup(ino, b".")
    small.fs.names.unlink(ROOT, b"file")
    small.fs.reclaimer.drain()
    assert small.fs.reads.read(ino, 0, 10) == b"bytes"
    small.fs.names.forget(ino)
    small.fs.reclaimer.drain()
    with fails(errno.ESTALE):
        small.fs.reads.read(ino, 0, 10)
