"""Which paths of a volume file may stand together: no tier inside the other, no file used twice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierfs.policy.problems import Place, Problems


@dataclass(frozen=True, slots=True)
class Named:
    """A path, the key that gave it as messages name it, and where that stands."""

    label: str
    path: Path
    place: Place

    @property
    def real(self) -> Path:
        """The path behind symbolic links; what does not exist yet is taken as written."""
        return Path(os.path.realpath(self.path))


def check_tiers(flash: Named, disk: Named, problems: Problems) -> None:
    """Flash and disk must be two directories, neither inside the other."""
    hint = "give each its own directory, on its own device"
    if flash.real == disk.real:
        what = f'"flash" and "disk" are the same directory, {flash.real}'
    elif flash.real.is_relative_to(disk.real):
        what = f'"flash" is inside "disk", {disk.real}'
    elif disk.real.is_relative_to(flash.real):
        what = f'"disk" is inside "flash", {flash.real}'
    else:
        return
    problems.add(max(flash.place, disk.place), what, hint)


def check_files(files: Sequence[Named], tiers: Sequence[Named], problems: Problems) -> None:
    """No file serves two purposes, and none is a directory that a tier is or lies in."""
    for one, other in combinations(files, 2):
        if one.real == other.real:
            what = f"{other.label} is the same file as {one.label}, {one.real}"
            problems.add(max(one.place, other.place), what, "give each its own file")
    for file in files:
        for tier in tiers:
            if tier.real.is_relative_to(file.real):
                what = (
                    f"{file.label} must be a file, but {tier.label} makes {file.real} a directory"
                )
                problems.add(file.place, what, "add the name of a file")
