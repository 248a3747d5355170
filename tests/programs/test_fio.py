"""fio writes checksummed blocks at random and verifies them, across the head boundary."""

from __future__ import annotations

import os

import pytest

from tests.support.mounting import HEAD, Mount
from tests.support.places import Place
from tests.support.proc import Argument, ProgramFailed, run

MEBIBYTES = int(os.environ.get("TIERFS_FIO_MIB", "4"))
"""Size of the file of one job. Its first 64 KiB are on flash, the rest on disk."""

JOBS = {
    "pwrite": ["--ioengine=psync", "--bsrange=512-24k"],
    "mmap": ["--ioengine=mmap", "--bs=4k"],
    "vectors": ["--ioengine=pvsync", "--bsrange=4k-192k"],
    "fsync": ["--ioengine=psync", "--bs=16k", "--fsync=8"],
}


def fio(place: Place, *options: Argument, name: str = "boundary") -> str:
    fixed = ["--verify=crc32c", "--verify_fatal=1", "--randseed=5", "--end_fsync=1"]
    where: list[Argument] = [f"--directory={place.path}", f"--name={name}"]
    return run(["fio", *fixed, *where, *options], cwd=place.path, timeout=110).stdout


@pytest.mark.parametrize("job", JOBS)
def test_random_writes_verify(place: Place, job: str) -> None:
    size = f"--size={MEBIBYTES}m"
    fio(place, "--rw=randwrite", "--do_verify=1", size, *JOBS[job])
    place.remount()
    fio(place, "--rw=randwrite", "--verify_only", size, *JOBS[job])


def test_many_files_that_straddle_the_boundary(place: Place) -> None:
    """Small files, most of whose blocks lie on the boundary or just beside it."""
    shape = ["--nrfiles=16", f"--size={16 * 2 * HEAD}", "--bsrange=512-40k", "--ioengine=psync"]
    fio(place, "--rw=randwrite", "--do_verify=1", *shape)
    place.remount()
    fio(place, "--rw=randwrite", "--verify_only", *shape)


def test_reads_and_writes_mixed(place: Place) -> None:
    shape = [f"--size={MEBIBYTES}m", "--bs=8k", "--ioengine=psync", "--numjobs=2"]
    fio(place, "--rw=randrw", "--rwmixread=40", "--do_verify=1", *shape)


def test_fio_would_see_a_changed_byte(mounted: Mount) -> None:
    shape = ["--rw=randwrite", "--size=256k", "--bs=4k", "--ioengine=psync"]
    fio(mounted, "--do_verify=1", *shape)
    with (mounted.path / "boundary.0.0").open("r+b") as file:
        file.seek(HEAD + 100)
        file.write(b"not what fio wrote")
    with pytest.raises(ProgramFailed, match="verify"):
        fio(mounted, "--verify_only", *shape)
