"""The order of the steps: this is what a run does, from the first byte to the last."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tierfs.base.errors import DamageFound, TierfsError
from tierfs.base.units import KIB, format_size
from tierfs.demo import caches, first_read, report
from tierfs.demo.copying import copy_tree
from tierfs.demo.dataset import generate, plan_images
from tierfs.demo.findings import Findings, list_differences
from tierfs.demo.oddities import make_oddities
from tierfs.demo.source import find_python_trees
from tierfs.demo.space import Images, fit
from tierfs.demo.storage import Storage, storage_of
from tierfs.demo.trees import Census, Tree, count
from tierfs.demo.ui import Advance, Ui
from tierfs.demo.verify import Readers
from tierfs.demo.volume import Volume, volume
from tierfs.demo.workspace import Workspace, workspace
from tierfs.demo.xattrs import supports_user_xattrs

HEAD = 64 * KIB
"""What ``tierfs init`` takes when nothing is said."""

VIRTUAL = ("/dev/vd", "/dev/xvd")
"""Disks of virtual machines; what the kernel says of them is what the host made up."""

MUCH = 0.05
"""The part of all names that may be set aside before the comparison means nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person chose. ``flash`` and ``disk``: where the tiers lie, if not in ``place``."""

    images: Images
    place: Path
    flash: Path | None = None
    disk: Path | None = None
    readers: int = 4
    samples: int = 200
    keep: bool = False


def plan(settings: Settings, trees: list[Tree]) -> Images:
    """The images that fit next to ``trees``. Raises TierfsError when hardly any do."""
    places = {settings.place, settings.flash or settings.place, settings.disk or settings.place}
    others = sum(count(tree, HEAD).bytes for tree in trees)
    return fit(settings.images, others, places)


def run(settings: Settings, ui: Ui) -> None:
    """Do all of it.

    Raises:
        DamageFound: the copy differs from the source.
        TierfsError: a step failed; its message says which and why.
        OSError: a directory given by the user cannot be used.
    """
    with ui.step("Looking for files to copy"):
        real = find_python_trees()
        images = plan(settings, real)
    keep = settings.keep
    with (
        workspace(settings.place, settings.flash, settings.disk, keep=keep) as work,
        volume(work, keep=keep) as one,
        _telling_the_end(ui, work, keep=keep),
    ):
        trees = [*_generate(ui, work.source, images), *real]
        Run(settings, ui, work, one, trees).steps()
        if not keep:
            one.unmount()
    if not keep:
        ui.say("Unmounted, and deleted all that was made.")


def _generate(ui: Ui, source: Path, images: Images) -> list[Tree]:
    """Make the images and the awkward files; returns both trees."""
    tag = supports_user_xattrs(source)
    if not tag:
        ui.say(f"{source} keeps no user xattrs: there will be none to compare.")
    odd, pictures = source / "odd", source / "images"
    odd.mkdir()
    pictures.mkdir()
    planned = plan_images(images.files, images.bytes)
    with ui.progress(f"Generating {images.files:,} images", images.bytes) as advance:
        generate(pictures, planned, advance, tag=tag)
    make_oddities(odd, tag=tag)
    return [Tree.whole("images", pictures), Tree.whole("odd", odd)]


@contextmanager
def _telling_the_end(ui: Ui, work: Workspace, *, keep: bool) -> Iterator[None]:
    """Say what is kept, however it ends, and answer Ctrl-C at once: cleaning up takes seconds."""
    try:
        yield
    except KeyboardInterrupt:
        ui.say("Stopping.")
        raise
    finally:
        if keep:
            _say_what_is_kept(ui, work)


def _say_what_is_kept(ui: Ui, work: Workspace) -> None:
    ui.say(f"Kept: {work.home}, with the volume at {work.mountpoint}. To take it away:")
    ui.say(f"  tierfs umount {work.mountpoint} && rm -r {' '.join(map(str, work.roots))}")


@dataclass(frozen=True, slots=True)
class Run:
    """One run in its directories, once the source is there."""

    settings: Settings
    ui: Ui
    work: Workspace
    volume: Volume
    trees: list[Tree]

    def steps(self) -> None:
        """Copy, mount again with cold caches, measure, compare, report."""
        counts = {tree.name: count(tree, HEAD) for tree in self.trees}
        report.show_sources(self.ui, counts)
        since_ns = time.time_ns()
        self._copy(counts)
        everything = self._remount_cold()
        self._first_reads(names_dropped=everything)
        findings = self._verify(counts, since_ns)
        self._report(findings, counts)

    def _copy(self, counts: Mapping[str, Census]) -> None:
        with self.ui.step("Making and mounting the volume"):
            self.volume.init()
            self.volume.mount()
        total = sum(one.bytes for one in counts.values())
        with self.ui.progress("Copying with cp -a", total) as advance:
            for tree in self.trees:
                self._copy_tree(tree, advance)

    def _copy_tree(self, tree: Tree, advance: Advance) -> None:
        try:
            copy_tree(tree, self.work.mountpoint / tree.name, advance)
        except TierfsError as exc:
            raise TierfsError(f"{exc}{self.volume.log_tail()}") from exc

    def _remount_cold(self) -> bool:
        with self.ui.step("Unmounting, dropping caches, mounting again"):
            self.volume.unmount()
            work = self.work
            everything = caches.drop_caches((work.flash, work.disk, work.source))
            self.volume.mount()
        return everything

    def _first_reads(self, *, names_dropped: bool) -> None:
        images = self.trees[0]
        paths = first_read.sample_files(images, self.settings.samples)
        ways = {
            "disk tier alone": images.root,
            "through tierfs": self.work.mountpoint / images.name,
        }
        with self.ui.step(f"Reading {len(paths)} images once, both ways"):
            measured = [first_read.measure(name, root, paths, HEAD) for name, root in ways.items()]
        flash, disk = storage_of(self.work.flash), storage_of(self.work.disk)
        remarks = first_read_remarks(flash, disk, names_dropped=names_dropped)
        first_read.show(self.ui, measured, remarks)

    def _verify(self, counts: Mapping[str, Census], since_ns: int) -> Findings:
        findings = Findings()
        total = sum(one.bytes for one in counts.values())
        title = f"Comparing with {self.settings.readers} reader processes"
        with self.ui.progress(title, total) as advance, Readers(self.settings.readers) as readers:
            for tree in self.trees:
                target = self.work.mountpoint / tree.name
                found = readers.verify(tree, target, since_ns, advance)
                findings.add(found.below(tree.name))
        return findings

    def _report(self, findings: Findings, counts: Mapping[str, Census]) -> None:
        expected = sum(counts.values(), Census())
        status = self.volume.status()
        report.show_placement(self.ui, self.work.flash, self.work.disk, status, expected)
        report.show_findings(self.ui, findings)
        judge(findings, expected.names)
        self.ui.say("Everything is equal.")


def judge(findings: Findings, names: int) -> None:
    """Raise DamageFound for a difference, and TierfsError when too little could be judged."""
    if findings.differences:
        number = len(findings.differences)
        listed = list_differences(findings.differences).splitlines()
        raise DamageFound.of_lines(
            [f"the copy differs from the source in {number} places:", *listed]
        )
    if len(findings.set_aside) > names * MUCH:
        raise TierfsError("too much of the source changed during the run; try again later")


def first_read_remarks(flash: Storage, disk: Storage, *, names_dropped: bool) -> list[str]:
    """What one must know to read the table of first reads."""
    remarks = [f"Flash tier: {flash}. Disk tier: {disk}."]
    if flash.device == disk.device:
        remarks.append(
            "Both tiers lie on the same storage here, so this shows what tierfs adds, not what"
            " flash saves. With --flash and --disk on real ones it shows both."
        )
    if disk.source.startswith(VIRTUAL):
        remarks.append("The disk tier is a virtual disk: its host decides what a seek costs.")
    elif not disk.rotational:
        remarks.append("The disk tier is no spinning disk: there is no seek to save.")
    if not names_dropped:
        remarks.append("Without root only file data was dropped; names may have been cached.")
    return remarks


def describe(images: Images, place: Path) -> str:
    """One line on what will be done, for the question before it."""
    return f"{images.files:,} images of {format_size(images.bytes)} together, in {place}"
