"""The generated images and awkward files."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
import xattr

from tierfs.base.units import MIB
from tierfs.demo import dataset
from tierfs.demo.dataset import LARGEST, SMALLEST, generate, image_sizes, make_image, plan_images
from tierfs.demo.oddities import CROWD, DEPTH, NAMES, make_oddities
from tierfs.demo.trees import Tree, count


def read_tags(data: bytes) -> dict[int, int]:
    """The values of a TIFF file's only directory, read as the standard says (TIFF 6.0, 2)."""
    order, magic, at = struct.unpack_from("<2sHI", data)
    assert (order, magic) == (b"II", 42)
    (entries,) = struct.unpack_from("<H", data, at)
    tags = [struct.unpack_from("<HHII", data, at + 2 + 12 * n) for n in range(entries)]
    assert struct.unpack_from("<I", data, at + 2 + 12 * entries) == (0,)
    assert [tag[0] for tag in tags] == sorted({tag[0] for tag in tags})
    return {tag: value for tag, _, _, value in tags}


@pytest.mark.parametrize("size", [SMALLEST, 30_001, 65_536, 1_000_003])
def test_an_image_is_a_tiff_file_of_about_its_size(size: int) -> None:
    data = make_image(size, 5)
    tags = read_tags(data)
    assert size - tags[256] < len(data) <= size
    assert tags[273] + tags[279] == len(data)
    assert tags[256] * tags[257] == tags[279]
    assert len(set(data[tags[273] :])) > 50  # grey levels


def test_images_are_the_same_on_every_run_and_differ_from_each_other() -> None:
    assert make_image(20_000, 1) == make_image(20_000, 1)
    assert make_image(20_000, 1)[dataset.PIXELS_AT :] != make_image(20_000, 2)[dataset.PIXELS_AT :]


@pytest.mark.parametrize(("files", "total"), [(1200, 600 * MIB), (50, 10 * MIB), (7, 20 * MIB)])
def test_sizes_are_mixed_and_add_up(files: int, total: int) -> None:
    sizes = image_sizes(files, total)
    assert len(sizes) == files
    assert sum(sizes) == pytest.approx(total, rel=0.01)
    assert SMALLEST <= min(sizes) < max(sizes) <= LARGEST


@pytest.mark.parametrize(("files", "total", "one"), [(3, 1, SMALLEST), (3, 1000 * MIB, LARGEST)])
def test_sizes_that_cannot_add_up_stay_in_bounds(files: int, total: int, one: int) -> None:
    assert image_sizes(files, total) == pytest.approx([one] * files, rel=0.02)


def test_generated_images_have_names_times_and_xattrs(tmp_path: Path) -> None:
    advanced: list[int] = []
    generate(tmp_path, plan_images(25, MIB), advanced.append, tag=True)
    images = sorted(tmp_path.rglob("*.tif"))
    assert len(images) == len(advanced) == 25
    assert images[0] == tmp_path / "plate-01" / "A01" / "field00.tif"
    assert len({image.stat().st_mtime_ns for image in images}) == 25
    tagged = [image for image in images if xattr.listxattr(str(image))]
    assert len(tagged) == 9
    assert xattr.getxattr(str(tagged[0]), "user.channel") == b"DAPI"


def test_images_without_xattrs_where_there_can_be_none(tmp_path: Path) -> None:
    generate(tmp_path, plan_images(4, MIB), lambda _: None, tag=False)
    assert not any(xattr.listxattr(str(image)) for image in tmp_path.rglob("*.tif"))


def test_oddities_hold_what_they_promise(tmp_path: Path) -> None:
    make_oddities(tmp_path, tag=True)
    statuses = dict(Tree.whole("odd", tmp_path).walk())
    assert {os.fsencode(path.name) for path in statuses if path.parent == Path("names")} == {
        *NAMES,
        b"twin-3",
    }
    assert max(len(os.fsencode(path.name)) for path in statuses) == 255
    assert len([path for path in statuses if path.parent == Path("crowd")]) == CROWD
    assert max(len(path.parts) for path in statuses) == DEPTH + 2
    assert statuses[Path("links/twin-1")].st_nlink == 3
    assert any(stat.S_ISLNK(status.st_mode) for status in statuses.values())
    assert any(stat.S_ISFIFO(status.st_mode) for status in statuses.values())
    assert any(status.st_mode & stat.S_ISUID for status in statuses.values())
    assert any(status.st_mtime_ns < 0 for status in statuses.values())
    sparse = statuses[Path("sparse/hole-then-data")]
    assert sparse.st_blocks * 512 < sparse.st_size
    assert xattr.getxattr(str(tmp_path / "xattrs" / "file-0"), "user.empty") == b""


def test_census_counts_an_inode_once_and_parts_it_at_the_head(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(100))
    (tmp_path / "twin").hardlink_to(tmp_path / "large")
    (tmp_path / "small").write_bytes(bytes(10))
    (tmp_path / "folder").mkdir()
    found = count(Tree.whole("t", tmp_path), 64)
    assert (found.names, found.directories, found.files) == (4, 1, 2)
    assert (found.bytes, found.head_bytes, found.tail_bytes) == (110, 74, 36)
