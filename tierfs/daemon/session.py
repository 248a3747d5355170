"""The session of a mount: from an unmounted volume to a served mount and back.

``serve`` opens the volume, mounts it, runs the event loop with pyfuse3 and the background tasks,
answers the control socket and the metrics, and closes the volume when the mount has ended.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pyfuse3
import trio

from tierfs.common.errors import ConfigError, FsError, MountFailed, TierfsError, VolumeBusy
from tierfs.common.metrics import Metrics
from tierfs.common.text import printable
from tierfs.daemon import service_manager
from tierfs.daemon.adapter import Adapter
from tierfs.daemon.adopting import Adopting
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.backup import CHECKED_EVERY_S, COPIED_EVERY_S, Backups
from tierfs.daemon.changes import ChangeFeed
from tierfs.daemon.connection import (
    Connection,
    Invalidation,
    native_read_ahead_kib,
    set_read_ahead,
)
from tierfs.daemon.control import Verb, serving_control
from tierfs.daemon.listener import Listener
from tierfs.daemon.metrics import exposition, metrics_listener
from tierfs.daemon.native import CacheFiller, fast_path
from tierfs.daemon.operations import Operations
from tierfs.daemon.options import MountOptions
from tierfs.daemon.policy import (
    PolicyInForce,
    apply_policy,
    explain_files,
    policy_in_force,
    policy_status,
)
from tierfs.daemon.resent import SupervisedOperations, TakenOverOperations
from tierfs.daemon.runtime import RunFile, require_alone
from tierfs.daemon.status import Served, Status, readiness, watch_tiers
from tierfs.daemon.takeover import Supervised
from tierfs.daemon.tiering import Tiering, recording
from tierfs.fs.volume import Volume, open_volume
from tierfs.policy.volume_file import VolumeFile

log = logging.getLogger(__name__)

MAX_TASKS: Final = 10_000
"""Requests under way at a time: more than the kernel queues, so none waits behind a slow one."""

RECLAIM_EVERY_S: Final = 5.0
"""Like the journal of ext4 (commit=5): it syncs everything first, so it must not come too often."""

CHECKPOINT_CHECK_S: Final = 1.0
POLICY_CHECK_S: Final = 1.0
RECOUNT_EVERY_S: Final = 0.01
"""A thousand inodes each time take half a millisecond, for which writers wait."""

GARBAGE_THRESHOLD: Final = 10_000
"""Containers that are made and stay between two looks for cycles: some 50 bytes each at least."""

LAST_USERS_S: Final = 10.0
"""How long SIGTERM waits for programs that still use the mount."""


def serve(
    settings: VolumeFile,
    mountpoint: Path,
    options: MountOptions,
    ready: Callable[[], None],
    supervised: Supervised | None = None,
) -> None:
    """Mount a volume, call ``ready`` when the mount answers, and serve until it is unmounted.

    SIGTERM and SIGINT unmount; programs that still use the mount have ten seconds to finish.
    SIGHUP reloads the policy.

    With ``supervised`` an earlier daemon may have mounted it, and another may take over: then a
    failure ends the process at once.

    Raises:
        ConfigError: the policy is wrong.
        VolumeRefused, VolumeBusy: the volume cannot be opened.
        MountFailed: the kernel refused the mount, or it ended without an unmount.
    """
    with hangups_ignored() as follows_terminal:
        metrics = Metrics()
        policy = _policy_of(settings, mountpoint, metrics, supervised)
        fast = fast_path(settings.fast_path) if _wants_fast_path(settings, options) else None
        invalidation = Invalidation()
        try:
            volume = open_volume(
                settings,
                metrics=metrics,
                make_ports=fast.make_ports if fast else invalidation.make_ports,
                read_only=options.read_only,
                force=options.force,
                earlier=supervised.earlier.descriptors
                if supervised and supervised.earlier
                else None,
            )
        except (FsError, OSError) as exc:
            raise MountFailed(f"{settings.path}: the volume cannot be opened: {exc}") from exc
        try:
            require_alone(volume.uuid)
        except VolumeBusy:
            volume.close()
            raise
        run = RunFile(volume.uuid, settings.path, mountpoint)
        if supervised is not None:
            supervised.remember(settings, run.epitaph)
        connection = Connection(mountpoint, fast, invalidation, supervised)

        def up() -> None:
            connection.up(volume.descriptors)
            run.serving(connection.own)
            ready()

        try:
            session = _Session(volume, connection, options, metrics, policy)
            spare_garbage_collector()
            trio.run(session.run, up, follows_terminal)
        except BaseException:
            _leave_to_next(supervised, exc_info=True)
            raise
        finally:
            _leave_to_next(supervised)
            run.closing()
            try:
                volume.close()
            finally:
                run.remove()


def _policy_of(
    settings: VolumeFile, mountpoint: Path, metrics: Metrics, supervised: Supervised | None
) -> PolicyInForce | None:
    """The policy; at a takeover none, if the file is wrong: programs use the mount already."""
    try:
        return policy_in_force(settings, mountpoint, metrics)
    except ConfigError as exc:
        if supervised is None or supervised.earlier is None:
            raise
        log.warning("no policy is in force until the next takeover or mount: %s", exc)
        return None


def _leave_to_next(supervised: Supervised | None, *, exc_info: bool = False) -> None:
    """Let nothing be closed, and above all nothing freed, of a mount that another goes on with."""
    if supervised is not None and supervised.would_be_replaced():
        log.critical("serving ended, but not the mount", exc_info=exc_info)
        supervised.leave_to_next()


def spare_garbage_collector() -> None:
    """Let Python look for cycles more rarely, and never in what was made so far.

    With its defaults a tenth of the time of files that are created goes there, 10 to 20 ms at once
    each few thousand files: all requests wait meanwhile. What a request makes has no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def _wants_fast_path(settings: VolumeFile, options: MountOptions) -> bool:
    """With ``allow_root`` libfuse rejects other users, so every request must go through it."""
    if "allow_root" in options.fuse:
        log.info("the fast path is off: it does not know allow_root")
        return False
    return settings.fast_path.enabled if options.fast_path is None else options.fast_path


class _Session:
    """What runs while a volume is mounted: pyfuse3, the background tasks, and the answers."""

    def __init__(
        self,
        volume: Volume,
        connection: Connection,
        options: MountOptions,
        metrics: Metrics,
        policy: PolicyInForce | None,
    ) -> None:
        self._volume = volume
        self._connection = connection
        self._options = options
        self._metrics = metrics
        self._policy = policy
        self._background = BackgroundTasks(metrics)
        self._backups = Backups(volume, lambda: self._ending)
        self._tiering = Tiering(volume, metrics, connection.fast_path, moves=not options.read_only)
        self._ending = False
        self._checkpointing = trio.Lock()
        self._token: trio.lowlevel.TrioToken | None = None

    async def run(self, ready: Callable[[], None], follows_terminal: bool) -> None:  # noqa: FBT001 - trio passes arguments by position
        """Mount, and serve until the mount has ended; see ``serve`` and ``hangups_ignored``."""
        with closing(self._tiering), recording(self._volume, self._tiering):
            adapter, filler = self._handlers(ready)
            connection, source = self._connection, self._volume.settings.path
            with (
                self._answering(),
                connection.open(adapter, adapter.operations, source, self._options.fuse),
                closing(self._tiering.scrub),
            ):
                async with trio.open_nursery() as tasks:
                    begin, background = tasks.start_soon, self._background
                    begin(background.every, RECLAIM_EVERY_S, "reclaim", self._reclaim)
                    begin(background.every, CHECKPOINT_CHECK_S, "checkpoint", self._checkpoint)
                    if self._policy is not None:
                        begin(background.every, POLICY_CHECK_S, "policy", self._poll_policy)
                    if self._backups.on:
                        begin(background.every, COPIED_EVERY_S, "feed", self._copy_feed)
                        begin(background.every, CHECKED_EVERY_S, "backup", self._back_up)
                    begin(background.keep, "reconcile", self._reconcile)
                    begin(background.keep, "recount", self._recount)
                    begin(self._tiering.run, background)
                    begin(background.keep, "scrub", self._scrub)
                    signals = partial(
                        handle_signals,
                        self._unmount,
                        self._reload_policy,
                        follows_terminal=follows_terminal,
                    )
                    await tasks.start(signals)
                    begin(background.keep, "tune", self._tune)
                    begin(background.keep, "publish", filler.run)
                    begin(background.keep, "watchdog", self._watchdog)
                    begin(connection.end_with_fast_path)
                    await pyfuse3.main(max_tasks=MAX_TASKS)
                    self._ending = True
                    service_manager.stopping()
                    if self._policy is not None:
                        self._policy.stop()
                    tasks.cancel_scope.cancel()

    def _handlers(self, ready: Callable[[], None]) -> tuple[Adapter, CacheFiller]:
        """The policy put in force, pyfuse3's handlers, and the task of cache fills."""
        if self._policy is not None:
            self._policy.attach(self._tiering.apply)
        fs, fast = self._volume.fs, self._connection.fast_path
        fs.verifier.drop_pages = self._connection.drop_pages
        filler = CacheFiller(fs.cache_fill)
        operations = self._kind_of_operations()(
            fs,
            self._metrics,
            masks=self._connection.leaves_umask_to_daemon,
            writeback=self._options.writeback,
            mountpoint=self._connection.mountpoint,
            filler=filler if fast else None,
            put_statfs=fast.put_statfs if fast else None,
        )
        if isinstance(operations, SupervisedOperations) and fast:
            operations.supervise(fs, fast.router.unique)
        if fast:
            fs.ranges.write_back = fast.write_back
        adapter = Adapter(
            fs,
            self._metrics,
            operations,
            writeback=self._options.writeback,
            initialised=ready,
            fast_path=fast is not None,
        )
        return adapter, filler

    def _kind_of_operations(self) -> type[Operations]:
        supervised = self._connection.supervised
        if supervised is None or self._connection.fast_path is None:
            return Operations
        return TakenOverOperations if supervised.earlier else SupervisedOperations

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Serve the metrics and the control socket, in threads of their own."""
        watch_tiers(self._volume, self._metrics)
        self._token = trio.lowlevel.current_trio_token()
        event_loop = partial(trio.from_thread.run_sync, lambda: None, trio_token=self._token)
        with ExitStack() as resources:
            exporter = self._metrics_listener(event_loop)
            if exporter is not None:
                exporter.start()
                resources.callback(exporter.close)
            status = Status(
                Served(
                    self._volume,
                    self._connection,
                    self._options,
                    self._background,
                    lambda: None if self._policy is None else policy_status(self._policy),
                    self._tiering.status,
                    self._backups.status,
                    self._tiering.scrub.status,
                    exporter,
                    event_loop,
                )
            )
            resources.callback(status.close)
            adopting = Adopting(self._volume, self._connection)
            verbs: dict[str, Verb] = {
                "adopt": adopting.adopt,
                "adopt refresh": adopting.refresh,
                "adopt settle": adopting.settle,
                "status": status.show,
                "policy apply": partial(apply_policy, self._policy),
                "policy explain": partial(explain_files, self._tiering.engine.explain),
                "policy plan": self._tiering.plan,
                "upgrade": self._upgrade,
                "backup": self._backups.show,
                "du": self._tiering.disk_usage,
                "changes": ChangeFeed(self._volume.index).changes,
                "forget reader": ChangeFeed(self._volume.index).forget,
                "scrub start": self._tiering.scrub.start,
                "scrub pause": self._tiering.scrub.pause,
                "scrub status": self._tiering.scrub.status,
            }
            resources.enter_context(
                serving_control(
                    self._volume.uuid, verbs, self._metrics, self._volume.settings.control_group
                )
            )
            yield

    def _upgrade(self, command: list[str]) -> dict[str, Any]:
        """Let another tierfs take over: a checkpoint leaves it little to recover."""
        supervised = self._connection.supervised
        if supervised is None:
            raise TierfsError("the mount has no supervisor; mount it with the option 'supervise'")
        if self._policy is not None and policy_status(self._policy)["problems"]:
            raise TierfsError(f"correct {self._volume.settings.policy} first: see tierfs status")
        try:
            trio.from_thread.run(self._make_checkpoint, trio_token=self._token)
        except (FsError, OSError) as exc:
            log.warning("there is no checkpoint before the upgrade: %s", exc)
        supervised.upgrade(command)
        return {}

    def _metrics_listener(self, event_loop: Callable[[], object]) -> Listener | None:
        settings, connection = self._volume.settings, self._connection
        if settings.metrics_listen is None:
            return None
        versions = (_version("tierfs"), _version("pyfuse3"), platform.python_version())
        self._metrics.build_info.labels(*versions).set(1)
        registry = exposition(
            self._metrics.registry,
            {
                "volume": printable(os.fspath(settings.path)),
                "mountpoint": printable(os.fspath(connection.mountpoint)),
            },
            None if connection.fast_path is None else connection.fast_path.counters,
        )
        not_ready = readiness(self._volume, event_loop)
        return metrics_listener(settings.metrics_listen, registry, self._metrics, not_ready)

    async def _reconcile(self) -> None:
        """After an unclean end, reconcile the files that no request has reconciled."""
        await trio.to_thread.run_sync(
            partial(self._volume.fs.recovery.reconcile_all, lambda: self._ending)
        )

    async def _scrub(self) -> None:
        """Verify files, in a thread that ends with the block of the connection."""
        await trio.to_thread.run_sync(self._tiering.scrub.run, abandon_on_cancel=True)

    async def _reclaim(self) -> None:
        """Delete unlinked files and carry out pending truncations, in batches."""
        fast, reclaimer = self._connection.fast_path, self._volume.fs.reclaimer
        if fast is not None and self._volume.inherited_counts is not None:
            is_known = fast.router.is_known
            await trio.to_thread.run_sync(partial(self._volume.free_forgotten, is_known))
        if not reclaimer.idle:
            await trio.to_thread.run_sync(reclaimer.drain)

    async def _checkpoint(self) -> None:
        """Make a checkpoint if one is due."""
        if self._volume.checkpoints.is_due():
            await self._make_checkpoint()

    async def _make_checkpoint(self) -> None:
        async with self._checkpointing:
            await trio.to_thread.run_sync(self._volume.checkpoints.make)

    async def _copy_feed(self) -> None:
        """Copy what was changed to where the backups are; a target that hangs is left behind."""
        await trio.to_thread.run_sync(self._backups.copy, abandon_on_cancel=True)

    async def _back_up(self) -> None:
        """Make a backup if one is due, in a worker process."""
        await trio.to_thread.run_sync(self._backups.make_if_due)

    async def _recount(self) -> None:
        """After an unclean end count the inodes again, a little at a time."""
        more = True
        while more:
            await trio.sleep(RECOUNT_EVERY_S)
            more = await trio.to_thread.run_sync(self._volume.index.recount)

    async def _watchdog(self) -> None:
        """While the event loop runs, the service manager's watchdog is quiet."""
        period = service_manager.watchdog_seconds()
        while period is not None:
            service_manager.alive()
            await trio.sleep(period / 3)

    async def _poll_policy(self) -> None:
        """A filesystem that hangs must not delay the end: the thread is left behind."""
        if self._policy is not None:
            await trio.to_thread.run_sync(self._policy.poll, abandon_on_cancel=True)

    async def _reload_policy(self) -> None:
        if self._policy is None:
            log.info("there is no tier policy to read: the volume file names none")
            return
        reload = partial(self._policy.reload, "SIGHUP")
        await trio.to_thread.run_sync(reload, abandon_on_cancel=True)

    async def _tune(self) -> None:
        """In a thread: looking at our own mount needs the event loop to answer."""
        fast, mountpoint = self._connection.fast_path, self._connection.mountpoint
        jobs = [partial(set_read_ahead, mountpoint)]
        if fast is not None:
            kib = native_read_ahead_kib(self._volume.settings.head)
            jobs = [
                partial(set_read_ahead, mountpoint, kib=kib),
                partial(fast.prefetch_names, mountpoint),
            ]
        for job in jobs:
            await trio.to_thread.run_sync(job, abandon_on_cancel=True)

    async def _unmount(self) -> None:
        """Unmount; a mount in use is detached, and ends with its last user, or after a while.

        A mount that is bound elsewhere, as by a container, outlives its mountpoint as well.
        """
        try:
            await trio.to_thread.run_sync(self._connection.unmount)
        except MountFailed as exc:
            log.warning("%s; its users have %g s to finish", exc, LAST_USERS_S)
            await trio.to_thread.run_sync(self._detach)
        await trio.sleep(LAST_USERS_S)
        log.info("still in use after %g s; ending all the same", LAST_USERS_S)
        pyfuse3.terminate()

    def _detach(self) -> None:
        # It fails if somebody else has unmounted it, or it lies under another mount.
        with suppress(MountFailed):
            self._connection.unmount(lazy=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # it runs from its source directory
        return "unknown"


# ------------------------------------------------------------------ signals

# SIGTERM and SIGINT unmount, SIGHUP reloads the policy. A terminal that is closed sends SIGHUP as
# well, to what runs in its foreground: the daemon then unmounts, as at Ctrl-C, unless nohup(1)
# started it.

Action = Callable[[], Awaitable[None]]

TERMINAL: Final = "/dev/tty"
"""The controlling terminal, tty(4); a process that has none cannot open it."""


@contextmanager
def hangups_ignored() -> Iterator[bool]:
    """A block in which SIGHUP does not end the process, while ``handle_signals`` does not run.

    The value says whether a SIGHUP from the terminal that is closed means the end.
    """
    before = signal.getsignal(signal.SIGHUP)
    follows = before is not signal.SIG_IGN and has_terminal()
    # Not SIG_IGN, which programs started from here would inherit.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    try:
        yield follows
    finally:
        signal.signal(signal.SIGHUP, before)


async def handle_signals(
    unmount: Action,
    reload: Action,
    *,
    follows_terminal: bool,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``unmount`` or ``reload`` at each signal; ``unmount`` once at a time."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async with trio.open_nursery() as reloading, trio.open_nursery() as unmounting:
            async for number in signals:
                name = signal.Signals(number).name
                if number == signal.SIGHUP and not (follows_terminal and not has_terminal()):
                    log.info("%s: reading the tier policy again", name)
                    reloading.start_soon(_guarded, name, reload)
                else:
                    log.info("%s: unmounting", name)
                    if not unmounting.child_tasks:
                        unmounting.start_soon(_guarded, name, unmount)


async def _guarded(name: str, action: Action) -> None:
    """A failure must not end the mount; the next signal tries again."""
    try:
        await action()
    except Exception:
        log.exception("%s: an unexpected failure, which must not end the mount", name)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
