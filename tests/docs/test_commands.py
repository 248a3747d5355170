"""The commands of the pages run as they stand, each page in a copy of the machine of its own."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import PAGES, ROOT
from tests.docs.sandbox import run_in_sandbox

pytestmark = [pytest.mark.once, pytest.mark.long]

BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"# ([\w-]+\.(?:py|yaml))\n")
"""The first line of a block that is a file of this name."""
BEGINNINGS = (
    "tierfs ",
    "find ",
    "getfattr ",
    "setfattr ",
    "mkdir ",
    "cd ",
    "rsync ",
    "jq ",
    "printf ",
    "python train.py",
)
"""What a line begins with that is a command, in a block without prompts."""

NO_COMMAND = re.compile(r"# /etc/\S+$|.* \[-")
"""The name of a file at the head of its lines, and a synopsis."""

SETUP = """
disk=${DISK:-/raid/images}
mkdir -p /nvme/images $disk
cd /etc/tierfs
tierfs init images.yaml --flash /nvme/images --disk $disk
cat > policy.yaml <<END
version: 1
rules:
  - name: archive
    match: {path: "/archive/**"}
    head: none
END
cp policy.yaml new.yaml
echo 'policy: policy.yaml' >> images.yaml
echo 'access_log: {file: /var/log/tierfs/images.access}' >> images.yaml
echo 'metrics: {listen: 127.0.0.1:9469}' >> images.yaml
tierfs mount images.yaml /mnt/images ${OPTIONS:-}
(
    cd /mnt/images
    mkdir -p train/cats screens/2026-07 archive/2019 results
    head -c 1000000 /dev/urandom | tee cells.tif > screens/2026-07/plate1.tif
    head -c 200000 /dev/urandom | tee archive/2019/a.tif > train/cells.tif
    for i in 1 2 3; do head -c 30000 /dev/urandom > train/cats/$i.jpg; done
)
ls -d /mnt/images/train/cats/* > epoch.txt
touch -d '1 hour ago' stamp
echo 'import sys' > train.py
"""
"""A mounted volume with what the pages name, in /etc/tierfs."""


class Page(NamedTuple):
    """How the commands of a page are run."""

    before: str = SETUP
    between: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Beginnings of commands, and what is run before them: what the text says in words."""
    leave: dict[str, str] = {}  # noqa: RUF012 - never changed
    """Beginnings of commands that are not run, and why."""
    modules: tuple[str, ...] = ()
    """Blocks of Python that import one of these are run."""


TREE = "mkdir -p /raid/images; cp -r /usr/share/doc/libc6 /raid/images/libc6"
NO_ENGINE = "there is no container engine"
NO_REGISTRY = "it installs from a package registry; it was tried on bare Debian 12 and 13"

IN_THE_CHECKOUT = "it works in the checkout, which the sandbox does not change"

RUN = {
    "README.md": Page("mkdir /root/try; cd /root/try", leave={"make": IN_THE_CHECKOUT}),
    "docs/reference/access-log.md": Page(
        f"{SETUP}\nsleep 2 # the log is written once a second\ntierfs umount /mnt/images"
    ),
    "docs/reference/announcements.md": Page(),
    "docs/reference/by-hand.md": Page(),
    "docs/reference/status.md": Page(),
    "docs/tutorial/announced-epochs.md": Page(),
    "docs/tutorial/first-mount.md": Page(""),
    "docs/tutorial/first-policy.md": Page(
        "mkdir -p /root/try; cd /root/try; mkdir flash disk mnt\n"
        "tierfs init images.yaml --flash flash --disk disk; tierfs mount images.yaml mnt"
    ),
    "docs/tutorial/training-job.md": Page(f"{SETUP}\nrm -r /mnt/images/train"),
    "docs/how-to/back-up-the-index.md": Page(),
    "docs/how-to/bring-a-tree-in.md": Page(
        f"DISK=/raid/store\n{TREE}\n{SETUP}\nmkdir /mnt/images/2026"
    ),
    "docs/how-to/change-the-policy.md": Page(f"EDITOR=touch\n{SETUP}"),
    "docs/how-to/check-a-volume.md": Page(
        between={
            "tierfs fsck --online": "tierfs mount images.yaml /mnt/images",
            "tierfs fsck --thorough": "tierfs umount /mnt/images",
        }
    ),
    "docs/how-to/check-data.md": Page(
        between={
            "tierfs fsck": "tierfs umount /mnt/images",
            "getfattr": "tierfs mount images.yaml /mnt/images",
        }
    ),
    "docs/how-to/find-files.md": Page(),
    "docs/how-to/find-out-what-is-wrong.md": Page(),
    "docs/how-to/find-out-why-a-job-is-slow.md": Page(
        leave={"tierfs top": "it ends with a key; tests/mount/test_watching.py presses it"}
    ),
    "docs/how-to/install.md": Page(
        leave={
            "apt-get": NO_REGISTRY,
            "python3 -m venv": NO_REGISTRY,
            "/opt/tierfs/bin/pip": NO_REGISTRY,
            "ln -s /opt": NO_REGISTRY,
            "make deb": NO_REGISTRY,
        }
    ),
    "docs/how-to/keep-archives-off-flash.md": Page(),
    "docs/how-to/make-a-manifest.md": Page(),
    "docs/how-to/make-a-view.md": Page(),
    "docs/how-to/monitor.md": Page(),
    "docs/how-to/know-what-is-in-files.md": Page(
        f"{SETUP}\n"
        "python -c 'from PIL import Image\n"
        'Image.new("RGB", (640, 480)).save("/mnt/images/train/cats/1.jpg")\'',
        between={"tierfs mount": "echo 'facts: {enabled: true}' >> images.yaml"},
    ),
    "docs/how-to/move-data-at-night.md": Page(),
    "docs/how-to/move-files-from-a-job-script.md": Page(),
    "docs/how-to/pin-an-active-screen.md": Page(),
    "docs/how-to/report-an-error.md": Page(),
    "docs/how-to/report-on-a-mount.md": Page(),
    "docs/how-to/see-what-moves.md": Page(),
    "docs/how-to/size-flash-and-index.md": Page(leave={"mkfs.ext4": "it needs a device"}),
    "docs/how-to/tag-files.md": Page(),
    "docs/how-to/take-a-tree-out.md": Page(),
    "docs/how-to/train.md": Page(modules=("h5py", "zarr")),
    "docs/how-to/choose-the-head.md": Page(f"{SETUP}\nsleep 2\n"),
    "docs/how-to/try-a-policy-first.md": Page(f"{SETUP}\nsleep 2\n"),
    "docs/how-to/upgrade-without-unmounting.md": Page(f"{SETUP}\ntierfs umount /mnt/images"),
    "docs/how-to/use-containers.md": Page(leave={"docker": NO_ENGINE, "apptainer": NO_ENGINE}),
    "docs/how-to/use-slurm.md": Page(
        "export SLURM_JOB_USER=root SLURM_JOB_COMMENT=tierfs:/mnt/images/train\n"
        "printf '#!/bin/sh\\ncat\\n' > /usr/local/bin/logger; chmod 755 /usr/local/bin/logger\n"
        + SETUP,
        leave={"sbatch": "there is no Slurm; its scripts are run as slurmd runs them"},
    ),
    "docs/how-to/warm-the-cache.md": Page(),
}

NOT_RUN = {
    ".github/CONTRIBUTING.md": "they run this suite",
    "docs/developing/testing.md": "they run this suite, or parts of it",
    "docs/how-to/recover-a-volume.md": "test_recovery.py runs them on harmed volumes",
    "docs/how-to/run-as-a-service.md": "tests/mount/test_service_manager.py boots a systemd",
    "docs/how-to/measure-your-storage.md": "they take minutes; tests/cli/test_bench.py is shorter",
    "docs/how-to/simulate-a-disk.md": "they take minutes; tests/benchmarks tests the disk",
}


def commands(text: str) -> list[str]:
    """The commands of the blocks of a page, and files that blocks are, as lines of a script."""
    found: list[str] = []
    for indent, language, body in BLOCK.findall(text):
        block = re.sub(f"^{indent}", "", body, flags=re.MULTILINE)
        if named := NAMED.match(block):
            found.append(f"cat > {named[1]} <<'END OF FILE'\n{block}END OF FILE")
        elif language == "sh":
            found.append(f"bash -eux <<'END OF FILE'\n{block}END OF FILE")
        elif language in {"", "console"}:
            found += _typed(block.splitlines())
    return found


def _typed(lines: list[str]) -> list[str]:
    prompts = any(line.startswith(("$ ", "# ")) for line in lines)
    found: list[str] = []
    while lines:
        line = lines.pop(0)
        if prompts and not line.startswith(("$ ", "# ")):
            continue
        if NO_COMMAND.match(line):
            continue
        if not prompts and not f"{line} ".startswith(BEGINNINGS):
            continue
        line = line[2:] if prompts else line
        while lines and not _is_whole(line):
            line += "\n" + lines.pop(0)
        found.append(line)
    return found


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def python_blocks(text: str, modules: tuple[str, ...]) -> list[str]:
    """The blocks of Python that import one of these, as commands."""
    blocks = [body for _, language, body in BLOCK.findall(text) if language == "python"]
    wanted = [each for each in blocks if any(f"import {name}\n" in each for name in modules)]
    return [f"python - <<'END OF FILE'\n{block}END OF FILE" for block in wanted]


@pytest.mark.parametrize("name", RUN)
@pytest.mark.timeout(180)
def test_commands_run(name: str, tmp_path: Path) -> None:
    page, text = RUN[name], (ROOT / name).read_text(encoding="utf-8")
    blocks = python_blocks(text, page.modules)
    assert len(blocks) == len(page.modules)
    script = [page.before, *blocks]
    for line in commands(text):
        if not line.startswith(tuple(page.leave)):
            script += [what for start, what in page.between.items() if line.startswith(start)]
            script.append(line)
    run_in_sandbox(tmp_path, "\n".join([*script, "true\n"]), timeout=170)


@pytest.mark.parametrize("name", RUN)
def test_what_is_left_out_or_prepared_is_there(name: str) -> None:
    lines = commands((ROOT / name).read_text(encoding="utf-8"))
    for beginning in [*RUN[name].leave, *RUN[name].between]:
        assert any(line.startswith(beginning) for line in lines)


def test_every_page_with_commands_is_listed() -> None:
    pages = [page for page in PAGES if commands(page.read_text("utf-8"))]
    assert {str(page.relative_to(ROOT)) for page in pages} == RUN.keys() | NOT_RUN.keys()
