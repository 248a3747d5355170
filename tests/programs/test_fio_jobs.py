"""fio with eight jobs at once: through the page cache, O_DIRECT and memory maps, verified."""

from __future__ import annotations

import os

import pytest

from tests.support.places import Place
from tests.support.proc import drop_page_cache, run

pytestmark = pytest.mark.long

MEBIBYTES = int(os.environ.get("TIERFS_FIO_JOB_MIB", "2"))
"""Size of the file of one job; in the long run 64."""

LIMIT = 100 + 4 * MEBIBYTES
"""Seconds that one run of fio may take."""

ALIGNED = "bssplit=4k/40:12k/20:64k/20:96k/10:256k/10"
ANY = "bsrange=512-256k"
"""Sizes of the requests, with their shares in percent; O_DIRECT and maps take whole pages."""

GROUPS = f"""
[global]
size={MEBIBYTES}m
rw=randwrite
verify=crc32c
verify_fatal=1
do_verify=1
randseed=8
end_fsync=1
directory=${{WHERE}}
thread

[cached]
numjobs=3
ioengine=psync
{ANY}

[direct]
numjobs=3
ioengine=libaio
iodepth=4
direct=1
{ALIGNED}

[mapped]
numjobs=2
ioengine=mmap
{ALIGNED}
"""
"""Eight files, three ways of writing. Threads, since fio's processes outlive one that is killed."""


@pytest.mark.timeout(3 * LIMIT)
def test_eight_jobs_verify(place: Place) -> None:
    assert fio(place).count("err= 0") == 8
    place.remount()
    drop_page_cache()
    assert fio(place, "--verify_only").count("err= 0") == 8


def fio(place: Place, *options: str) -> str:
    """Run the jobs, which work at the same time; fio's report."""
    environment = {"WHERE": str(place.path)}
    command = ["fio", *options, "-"]
    return run(command, cwd=place.path, env=environment, stdin=GROUPS, timeout=LIMIT).stdout
