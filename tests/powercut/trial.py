"""A volume on two filesystems that can be cut off, its load, and what must be there afterwards."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.powercut import database
from tests.powercut.devices import (
    FLUSH,
    LOG_FLUSH,
    NO_FLUSH,
    FailingFilesystem,
    LoopFilesystem,
    cut,
)
from tests.powercut.journal import Cut, entries
from tests.powercut.model import DIRECTORY, Failure, Model, look_at_all
from tests.powercut.operations import unsupported
from tests.support.mounting import Mount, tierfs, unmount_by_force
from tests.support.proc import (
    REPOSITORY,
    ProgramFailed,
    kill_process,
    run,
    running,
    start,
    stop,
    wait_until,
)
from tierfs.fsck.check import Finding, check
from tierfs.policy.volume_file import load_volume_file

MIB = 1024 * 1024
PATIENCE = 60
SMALL_FLASH_MIB = 18
"""Room on a small flash: more than tierfs keeps back, less than the load would like."""

PROFILES = ("mixed", "ranges", "logs", "appends")
FAILING_PROFILES = ("mixed", "mixed", "ranges", "logs", *["names"] * 4)
"""With the two databases these are ten programs."""

LONGEST_LOAD_S = 2.5
KILLS = 0.25
"""Part of the ends at which the power stays and the daemon is killed: what a cut left may show."""

WRITEBACK = 0.2
"""Part of the volumes that are mounted so that the kernel gathers writes (``-o writeback``)."""

AGAIN = 0.2
"""Part of the cuts after which the power goes once more, as soon as there is a mount."""

CUTS_OF_ONE_VOLUME = 10

POLICY = """\
version: 1
mirror: async
flash: {high_watermark: 98%, low_watermark: 96%, reserve: 1MiB}
"""


class Tally(Counter[str]):
    """Failures by kind, with their texts, and what was looked at.

    ``keep``: where the first failure has a copy made of ``home``, before it is repaired: objects
    and index, what the mount shows, the writers' journals of the round and their models before it.
    """

    def __init__(self, keep: Path | None = None) -> None:
        super().__init__()
        self._keep = keep
        self.home = Path()
        self.texts: list[str] = []
        self.looked: Counter[str] = Counter()

    def fail(self, failure: Failure, where: str) -> None:
        """Count a failure."""
        if self._keep and not self:
            with contextlib.suppress(OSError):  # what can be read of it
                ignore = shutil.ignore_patterns("*.img", "ballast")
                shutil.copytree(self.home, self._keep, symlinks=True, ignore=ignore)
        self[failure.kind] += 1
        self.texts.append(f"{where}: {failure}")

    def table(self) -> list[str]:
        """What was looked at and what was wrong, a line each."""
        looked = [f"{number:6} {what}" for what, number in sorted(self.looked.items())]
        return [*looked, *(f"{number:6} FAILED: {kind}" for kind, number in sorted(self.items()))]


class Native:
    """A directory on a filesystem that can be cut off."""

    def __init__(self, home: Path, kind: str) -> None:
        self._filesystem = LoopFilesystem(home / "image", home / "native", kind)
        self.path = self._filesystem.at
        self.when = Cut(0, 0)
        self.killed = self.keeps = False
        self.exact_times = True

    def cut(self, chance: random.Random) -> str:
        """Lose power."""
        how = chance.choice((LOG_FLUSH, NO_FLUSH, NO_FLUSH))
        self.when = cut([self.path], how)
        return f"native, flag {how}"

    def stop(self) -> None:
        """Nothing serves it but the kernel."""

    def start_again(self) -> None:
        """Have power again."""
        self._filesystem.detach()
        self._filesystem.attach()

    def checked(self, _tally: Tally, _where: str) -> None:
        """Nothing to do: the kernel has played back the journal."""

    def close(self) -> None:
        """Remove it."""
        self._filesystem.close()


class TwoTiers:
    """A volume of tierfs whose tiers can be cut off."""

    def __init__(self, home: Path, kind: str, chance: random.Random, kills: float) -> None:
        self._stack = contextlib.ExitStack()
        self._kills = kills
        self.when = Cut(0, 0)
        try:
            self.tiers = [self._filesystem(home, name, kind) for name in ("flash", "disk")]
            self.killed = False
            self.small = chance.random() < 0.5
            self.options = ("writeback",) if chance.random() < WRITEBACK else ()
            self.exact_times = not self.options
            if self.small:
                self._leave_little_room()
            self.mount = volume_on(home, self.tiers)
            self._stack.callback(end_daemon, self.mount)
            self.path = self.mount.path
            self.mount.mount(*self.options)
        except BaseException:
            self._stack.close()
            raise

    def _filesystem(self, home: Path, name: str, kind: str) -> LoopFilesystem:
        made = LoopFilesystem(home / f"{name}.img", home / f"{name}-device", kind)
        self._stack.callback(made.close)
        return made

    def _leave_little_room(self) -> None:
        at = self.tiers[0].at
        room = os.statvfs(at)
        length = room.f_bavail * room.f_frsize - SMALL_FLASH_MIB * MIB
        run(["fallocate", "-l", f"{length}", at / "ballast"])

    def cut(self, chance: random.Random) -> str:
        """Cut off both tiers, or one; now and then only kill the daemon."""
        self.when = Cut(0, 0)
        self.killed = chance.random() < self._kills
        if self.killed:
            kill_process(self.mount.pid)
            return f"killed{', '.join(('', *self.options))}"
        which = chance.choice(("both", "both", "flash", "disk"))
        how = chance.choice((FLUSH, LOG_FLUSH, NO_FLUSH, NO_FLUSH, NO_FLUSH))
        flash, disk = (tier.at for tier in self.tiers)
        several = chance.sample([flash, disk], 2)
        self.when = cut({"both": several, "flash": [flash], "disk": [disk]}[which], how)
        if which != "both":
            time.sleep(chance.uniform(0, 0.7))
        return f"{which}, flag {how}{', small flash' * self.small}{', '.join(('', *self.options))}"

    @property
    def keeps(self) -> bool:
        """Whether all that returned must be there: nothing but the daemon came to its end."""
        return self.killed and not self.options

    def stop(self) -> None:
        """End the daemon; raises Failure when it had ended by itself."""
        alive = running(self.mount.pid)
        end_daemon(self.mount)
        if not alive and not self.killed:
            raise Failure("daemon died", str(self.mount.pid), tail(self.mount))

    def start_again(self) -> None:
        """Have power again, and mount."""
        if not self.killed:
            for tier in self.tiers:
                tier.detach()
                tier.attach()
        mount_again(self.mount)

    def checked(self, tally: Tally, where: str) -> None:
        """Unmount, check, repair if need be, and mount again."""
        check_and_mount(self.mount, tally, where)

    def close(self) -> None:
        """Remove it."""
        self._stack.close()


class Failing:
    """A volume of tierfs of which one tier's device fails when it is told to."""

    exact_times = True

    def __init__(self, home: Path, which: str) -> None:
        self._stack = contextlib.ExitStack()
        self.when = Cut(0, 0)
        try:
            self._tiers = [self._filesystem(home, name, which) for name in ("flash", "disk")]
            self.mount = volume_on(home, self._tiers)
            self._stack.callback(end_daemon, self.mount)
            self.path = self.mount.path
            self.mount.mount()
        except BaseException:
            self._stack.close()
            raise

    def _filesystem(self, home: Path, name: str, which: str) -> LoopFilesystem | FailingFilesystem:
        at = home / f"{name}-device"
        made: LoopFilesystem | FailingFilesystem
        if name == which:
            made = self._failing = FailingFilesystem(home, at)
        else:
            made = LoopFilesystem(home / f"{name}.img", at, "ext4")
        self._stack.callback(made.close)
        return made

    def prepare(self) -> None:
        """Let what is there keep working."""
        self._failing.prepare()

    def fail(self) -> None:
        """Let the device fail for what is written for the first time."""
        self._failing.fail()

    def stop(self) -> None:
        """End the daemon, then heal the device; raises Failure when it had ended by itself."""
        alive = running(self.mount.pid)
        end_daemon(self.mount)
        self._failing.heal()
        if not alive:
            raise Failure("daemon died", str(self.mount.pid), tail(self.mount))

    def start_again(self) -> None:
        """Have the filesystems mounted anew, and mount."""
        for tier in self._tiers:
            tier.detach()
            tier.attach()
        mount_again(self.mount)

    def checked(self, tally: Tally, where: str) -> None:
        """Unmount, check, repair if need be, and mount again."""
        check_and_mount(self.mount, tally, where)

    def close(self) -> None:
        """Remove it."""
        self._stack.close()


def end_daemon(mount: Mount) -> None:
    """Kill the daemon, and take its mount away."""
    if mount.pid:
        kill_process(mount.pid)
    unmount_by_force(mount.path)


def volume_on(home: Path, tiers: Sequence[LoopFilesystem | FailingFilesystem]) -> Mount:
    """A new volume on these filesystems, not mounted yet."""
    flash, disk = (tier.at / "store" for tier in tiers)
    mount = Mount(home, flash=flash, disk=disk)
    (home / "policy.yaml").write_text(POLICY)
    mount.configure("policy", "policy.yaml")
    return mount


def mount_again(mount: Mount) -> None:
    """Mount after an unclean end.

    Raises:
        Failure: it is refused.
    """
    try:
        mount.mount(*mount.options)
    except ProgramFailed as exc:
        raise Failure("mount refused", str(mount.path), str(exc)) from exc


def findings_of(mount: Mount, tally: Tally) -> list[Finding]:
    """What fsck finds, notes left out; a checksum of other bytes than the file has is one."""
    report = check(load_volume_file(mount.volume_file), thorough=True, data=True)
    tally.looked["files compared with their checksums"] += report.verified
    return [found for found in report.findings if found.kind.severity != "note"]


def check_and_mount(mount: Mount, tally: Tally, where: str) -> None:
    """Unmount in peace, have fsck look, repair what it finds, and mount again.

    An object of no file is no failure: a cut takes back the row of a file that nobody synced.
    """
    mount.unmount()
    found = findings_of(mount, tally)
    for finding in found:
        if finding.kind.severity == "leak":
            tally.looked["objects of no file, repaired"] += 1
        else:
            what = f"{finding.kind.name}: {finding.what}"
            name = finding.path.decode(errors="replace") or f"inode {finding.ino}"
            tally.fail(Failure("fsck", name, what), where)
    if found:
        tierfs("fsck", "--repair", "--yes", mount.volume_file, statuses=range(10))
        for finding in findings_of(mount, tally):
            failure = Failure("fsck after a repair", f"inode {finding.ino}", finding.what)
            tally.fail(failure, where)
    mount_again(mount)


def tail(mount: Mount) -> str:
    """The end of the daemon's log."""
    return mount.log.text()[-2000:]


class Load:
    """Writers, databases and a mover on one place, with journals elsewhere."""

    def __init__(
        self, place: Native | TwoTiers | Failing, home: Path, profiles: Sequence[str]
    ) -> None:
        self.root = place.path
        self.moves = not isinstance(place, Native)
        self._home = home
        self._profiles = profiles
        self.models = [Model(exact_times=place.exact_times) for _ in profiles]
        self._round = 0
        self._committed = dict.fromkeys(database.MODES, 0)
        self._processes: list[subprocess.Popen[str]] = []
        self._without = sorted(unsupported(self.root))
        home.mkdir()
        for number, model in enumerate(self.models):
            for name in ("", "a", "b"):
                (self.root / f"{number}" / name).mkdir()
                if name:
                    model.names[name] = [DIRECTORY]
        for mode in database.MODES:
            (self.root / mode).mkdir()
            database.connect(self.root / mode / "db", mode).close()
        self.sync_all()

    def sync_all(self) -> None:
        """fsync every file and directory."""
        for folder, _, names in os.walk(self.root):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def begin(self, chance: random.Random) -> None:
        """Start everybody."""
        for number in range(len(self.models)):
            self._journal(number).unlink(missing_ok=True)
        self._round += 1
        for number, profile in enumerate(self._profiles):
            state = self._home / f"model-{number}"
            state.write_bytes(pickle.dumps(self.models[number]))
            words: list[Path | str] = [self.root / f"{number}", self._journal(number), state]
            words += [f"{chance.randrange(2**32)}", profile, *self._without]
            self._start("writer", *words)
        for mode in database.MODES:
            self._start("database", self.root / mode / "db", self._commits(mode), mode)
        if self.moves:
            self._start("mover", self.root, f"{chance.randrange(2**32)}")
        wait_until(self._warm, what="every writer writes", timeout=PATIENCE)

    def _start(self, name: str, *words: Path | str) -> None:
        argv = [sys.executable, "-m", f"tests.powercut.{name}", *words]
        self._processes.append(start(argv, env={"PYTHONPATH": str(REPOSITORY)}))

    def _journal(self, number: int) -> Path:
        return self._home / f"journal-{self._round}-{number}"

    def _commits(self, mode: str) -> Path:
        return self._home / f"commits-{mode}"

    def _warm(self) -> bool:
        for process in self._processes[: len(self.models)]:
            assert process.poll() is None, process.communicate()[1]
        journals = [self._journal(number) for number in range(len(self.models))]
        return all(path.exists() and path.stat().st_size > 2000 for path in journals)

    def end(self, cut: Cut, *, kept: bool) -> None:
        """End everybody, and follow what they noted; ``kept``: all that returned must be there."""
        self.close()
        for number, model in enumerate(self.models):
            all_returned = True
            for entry in entries(self._journal(number), cut):
                if kept and all_returned and not entry.done:
                    model.keep_all()
                    all_returned = False
                model.take(entry)
            if kept and all_returned:
                model.keep_all()
        for mode in database.MODES:
            last = database.acknowledged(self._commits(mode), cut)
            self._committed[mode] = max(self._committed[mode], last)
            self._commits(mode).unlink(missing_ok=True)

    def close(self) -> None:
        """End everybody."""
        for process in self._processes:
            stop(process)
        self._processes.clear()

    def judge(self, tally: Tally, where: str, *, settle: bool) -> None:
        """Compare everything with what must be there; what is wrong is removed, to go on."""
        for number, model in enumerate(self.models):
            self._judge_writer(number, model, tally, where)
        for mode in database.MODES:
            self._judge_database(mode, tally, where)
        if settle:
            self.sync_all()
            for number, model in enumerate(self.models):
                model.settle_names()
                for path in model.paths():
                    model.settle(path, (self.root / f"{number}" / path).stat().st_mtime_ns)

    def _judge_writer(self, number: int, model: Model, tally: Tally, where: str) -> None:
        root = self.root / f"{number}"
        if self.moves:
            tally.looked += places_of(root)
        numbers = {chain[-1] for chain in model.names.values()} - {None, DIRECTORY}
        for file in (model.files[number] for number in numbers if number):
            tally.looked["files synced" if not file.changed else "files changed since"] += 1
        for path, failure in list(model.judge(look_at_all(root))):
            tally.fail(failure, f"{where}, writer {number}")
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                (root / path).unlink()
            model.forget(path)

    def _judge_database(self, mode: str, tally: Tally, where: str) -> None:
        folder = self.root / mode
        tally.looked["databases"] += 1
        try:
            database.check(folder / "db", mode, self._committed[mode])
        except Failure as failure:
            tally.fail(failure, where)
            for path in folder.iterdir():
                path.unlink()
            self._committed[mode] = 0


def places_of(root: Path) -> Counter[str]:
    """How many files are on which tier, so that one sees that files were moved."""
    found: Counter[str] = Counter()
    for path in root.rglob("*"):
        if path.is_file():
            found[f"files on {os.getxattr(path, 'tierfs.location').decode()}"] += 1
            found["files mirrored"] += os.getxattr(path, "tierfs.mirrored") == b"yes"
    return found


@contextlib.contextmanager
def place_of(
    home: Path, kind: str, chance: random.Random, kills: float, *, native: bool
) -> Iterator[Native | TwoTiers]:
    """A place on filesystems of this kind."""
    place = Native(home, kind) if native else TwoTiers(home, kind, chance, kills)
    try:
        yield place
    finally:
        place.close()


def run_cuts(
    home: Path,
    kind: str,
    cuts: int,
    seed: int,
    tally: Tally,
    *,
    native: bool = False,
    kills: float = KILLS,
) -> None:
    """Cut one volume off several times, each time under load."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(place_of(home, kind, chance, kills, native=native))
        load = stack.enter_context(contextlib.closing(Load(place, home / "load", PROFILES)))
        for number in range(cuts):
            load.begin(chance)
            time.sleep(chance.uniform(0.3, LONGEST_LOAD_S))
            where = f"seed {seed}, {kind}, cut {number}, {place.cut(chance)}"
            try:
                place.stop()
            except Failure as failure:
                tally.fail(failure, where)
            again = chance.random() < AGAIN
            # What a kill leaves in the page cache is lost with the power that goes next.
            load.end(place.when, kept=place.keeps and not again)
            tally.looked["kills" if place.killed else "cuts"] += 1
            if again and not cut_again(place, chance, tally, where):
                return
            if not go_on(place, load, tally, where, settle=chance.random() < 0.5):
                return


def cut_again(place: Native | TwoTiers, chance: random.Random, tally: Tally, where: str) -> bool:
    """The power goes while what the first cut left is put in order."""
    try:
        place.start_again()
        time.sleep(chance.uniform(0, 0.2))
        place.cut(chance)
        place.stop()
    except Failure as failure:
        tally.fail(failure, f"{where}, again")
        return failure.kind != "mount refused"
    tally.looked["second cuts"] += 1
    return True


def go_on(
    place: Native | TwoTiers | Failing, load: Load, tally: Tally, where: str, *, settle: bool
) -> bool:
    """Have power again and look; returns whether there is something to go on with."""
    try:
        place.start_again()
        load.judge(tally, where, settle=settle)
        place.checked(tally, where)
    except Failure as failure:
        tally.fail(failure, where)
        return False
    return True


def run_failure(home: Path, seed: int, tally: Tally, which: str) -> None:
    """Let the device of one tier fail in the middle of the load of ten programs."""
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(contextlib.closing(Failing(home, which)))
        load = stack.enter_context(contextlib.closing(Load(place, home / "load", FAILING_PROFILES)))
        place.prepare()
        load.begin(chance)
        time.sleep(chance.uniform(0.3, LONGEST_LOAD_S))
        place.fail()
        time.sleep(chance.uniform(1, LONGEST_LOAD_S))
        where = f"seed {seed}, {which} fails"
        try:
            place.stop()
        except Failure as failure:
            tally.fail(failure, where)
        load.end(place.when, kept=False)
        tally.looked["failing devices"] += 1
        go_on(place, load, tally, where, settle=True)


def main() -> None:
    """Cut or fail, and print the failures by kind.

    ``python -m tests.powercut.trial [native-|killed-]ext4|[native-|killed-]xfs|flash|disk TIMES
    SEED [KEEP]``; ``killed-``: the power stays, the daemon is killed each time. KEEP: a directory
    to be made at the first failure, with what it was found in.
    """
    kind, times, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tally = Tally(*map(Path, sys.argv[4:]))
    while sum(tally.looked[key] for key in ("cuts", "kills", "failing devices")) < times:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as home:
            tally.home = Path(home)
            if kind in {"flash", "disk"}:
                run_failure(Path(home), seed, tally, kind)
            else:
                left = min(times - tally.looked["cuts"] - tally.looked["kills"], CUTS_OF_ONE_VOLUME)
                how, _, on = kind.rpartition("-")
                kills = 1 if how == "killed" else KILLS
                native = how == "native"
                run_cuts(Path(home), on, left, seed, tally, native=native, kills=kills)
        seed += 1
    sys.stdout.write("\n".join([*tally.texts, *tally.table()]) + "\n")
    sys.exit(bool(tally))


if __name__ == "__main__":
    main()
