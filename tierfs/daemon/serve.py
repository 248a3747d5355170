"""From an unmounted volume to a served mount and back."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pyfuse3
import trio

from tierfs.common.errors import FsError, MountFailed, VolumeBusy
from tierfs.common.metrics import Metrics
from tierfs.daemon.access_log import recording
from tierfs.daemon.adapter import Adapter
from tierfs.daemon.connection import Connection
from tierfs.daemon.control import Verb, serving_control
from tierfs.daemon.fast_path import fast_path
from tierfs.daemon.invalidation import Invalidation
from tierfs.daemon.listener import Listener
from tierfs.daemon.metrics_server import metrics_listener
from tierfs.daemon.misses import Misses
from tierfs.daemon.native_metrics import exported
from tierfs.daemon.operations import Operations
from tierfs.daemon.options import MountOptions
from tierfs.daemon.policy_explain import explain_files
from tierfs.daemon.policy_in_force import PolicyInForce, policy_in_force
from tierfs.daemon.policy_tasks import (
    LOOK_EVERY_S,
    apply_policy,
    look_at_policy,
    policy_status,
    reload_policy,
)
from tierfs.daemon.runtime import RunFile, require_alone
from tierfs.daemon.signals import hangups_wait, obey_signals
from tierfs.daemon.status import Served, Status, watch_tiers
from tierfs.daemon.supervision import Supervisor
from tierfs.daemon.tiering import Tiering
from tierfs.daemon.tuning import native_read_ahead_kib, tune
from tierfs.fs.volume import MakePorts, Volume, open_volume
from tierfs.policy.volume_file import VolumeFile

log = logging.getLogger(__name__)

TASKS = 10_000
"""Requests under way at a time: more than the kernel queues, so none waits behind a slow one."""

RECLAIM_EVERY_S = 5.0
"""Like the journal of ext4 (commit=5): it syncs everything first, so it must not come too often."""

CHECKPOINT_CHECK_S = 1.0
RECOUNT_EVERY_S = 0.01
"""A thousand inodes each time take half a millisecond, for which writers wait."""

LAST_USERS_S = 10.0
"""How long after SIGTERM programs that still use the mount are waited for."""


def serve(
    settings: VolumeFile, mountpoint: Path, options: MountOptions, ready: Callable[[], None]
) -> None:
    """Mount a volume, call ``ready`` when the mount answers, and serve until it is unmounted.

    SIGTERM and SIGINT unmount; programs that still use the mount have ten seconds to finish.
    SIGHUP has the policy read again.

    Raises:
        ConfigError: the policy is wrong.
        VolumeRefused, VolumeBusy: the volume cannot be opened.
        MountFailed: the kernel refused the mount, or it ended without an unmount.
    """
    with hangups_wait() as follows_terminal:
        _serve(settings, mountpoint, options, ready, follows_terminal=follows_terminal)


def _serve(
    settings: VolumeFile,
    mountpoint: Path,
    options: MountOptions,
    ready: Callable[[], None],
    *,
    follows_terminal: bool,
) -> None:
    metrics = Metrics()
    policy = policy_in_force(settings, mountpoint, metrics)
    fast = fast_path(settings.fast_path) if _wants_fast_path(settings, options) else None
    invalidation = Invalidation()
    volume = _open(settings, metrics, fast.make_ports if fast else invalidation.make_ports, options)
    try:
        require_alone(volume.uuid)
    except VolumeBusy:
        volume.close()
        raise
    run = RunFile(volume.uuid, settings.path, mountpoint)
    connection = Connection(mountpoint, fast, invalidation)

    def up() -> None:
        connection.up()
        run.serving(connection.own)
        ready()

    try:
        server = _Server(volume, connection, options, metrics, policy, up)
        trio.run(partial(server.run, follows_terminal=follows_terminal))
    finally:
        run.closing()
        try:
            volume.close()
        finally:
            run.remove()


def _wants_fast_path(settings: VolumeFile, options: MountOptions) -> bool:
    """With ``allow_root`` libfuse turns other users away, so that all must go through it."""
    if "allow_root" in options.fuse:
        log.info("the fast path is off: it does not know allow_root")
        return False
    return settings.fast_path.enabled if options.fast_path is None else options.fast_path


def _open(
    settings: VolumeFile, metrics: Metrics, make_ports: MakePorts, options: MountOptions
) -> Volume:
    try:
        return open_volume(
            settings,
            metrics=metrics,
            make_ports=make_ports,
            read_only=options.read_only,
            force=options.force,
        )
    except (FsError, OSError) as exc:
        raise MountFailed(f"{settings.path}: the volume cannot be opened: {exc}") from exc


class _Server:
    def __init__(
        self,
        volume: Volume,
        connection: Connection,
        options: MountOptions,
        metrics: Metrics,
        policy: PolicyInForce | None,
        ready: Callable[[], None],
    ) -> None:
        self._volume = volume
        self._connection = connection
        self._options = options
        self._metrics = metrics
        self._policy = policy
        self._ready = ready
        self._background = Supervisor(metrics)
        self._tiering = Tiering(volume, metrics, connection.fast_path, moves=not options.read_only)
        self._ending = False

    async def run(self, *, follows_terminal: bool) -> None:
        with closing(self._tiering), recording(self._volume, self._tiering):
            await self._run(follows_terminal=follows_terminal)

    async def _run(self, *, follows_terminal: bool) -> None:
        if self._policy is not None:
            self._policy.attach(self._tiering.apply)
        fs, fast = self._volume.fs, self._connection.fast_path
        misses = Misses(fs.cache_fill)
        operations = Operations(
            fs,
            self._metrics,
            masks=self._connection.leaves_umask_to_us,
            writeback=self._options.writeback,
            mountpoint=self._connection.mountpoint,
            misses=misses if fast else None,
            put_room=fast.put_room if fast else None,
        )
        if fast:
            fs.ranges.write_back = fast.write_back
        adapter = Adapter(
            fs,
            self._metrics,
            operations,
            writeback=self._options.writeback,
            initialised=self._ready,
            fast_path=fast is not None,
        )
        with (
            self._asked(),
            self._connection.open(adapter, self._volume.settings.path, self._options.fuse),
        ):
            async with trio.open_nursery() as helpers:
                begin, background = helpers.start_soon, self._background
                begin(background.every, RECLAIM_EVERY_S, "reclaim", self._reclaim)
                begin(background.every, CHECKPOINT_CHECK_S, "checkpoint", self._checkpoint)
                if self._policy is not None:
                    begin(
                        background.every,
                        LOOK_EVERY_S,
                        "policy",
                        partial(look_at_policy, self._policy),
                    )
                begin(background.keep, "reconcile", self._reconcile)
                begin(background.keep, "recount", self._recount)
                helpers.start_soon(self._tiering.run, self._background)
                await helpers.start(self._obeying(follows_terminal=follows_terminal))
                begin(background.keep, "tune", self._tune)
                begin(background.keep, "publish", misses.publish)
                helpers.start_soon(self._connection.end_with_fast_path)
                await pyfuse3.main(max_tasks=TASKS)
                self._ending = True
                if self._policy is not None:
                    self._policy.stop()
                helpers.cancel_scope.cancel()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Serve the metrics and the control socket, in threads of their own."""
        watch_tiers(self._volume, self._metrics)
        token = trio.lowlevel.current_trio_token()
        with ExitStack() as resources:
            exporter = self._exporter()
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
                    exporter,
                    partial(trio.from_thread.run_sync, _nothing, trio_token=token),
                )
            )
            resources.callback(status.close)
            verbs: dict[str, Verb] = {
                "status": status.show,
                "policy apply": partial(apply_policy, self._policy),
                "policy explain": partial(explain_files, self._tiering.engine.explain),
                "policy plan": self._tiering.plan,
            }
            resources.enter_context(
                serving_control(
                    self._volume.uuid, verbs, self._metrics, self._volume.settings.control_group
                )
            )
            yield

    def _exporter(self) -> Listener | None:
        listen = self._volume.settings.metrics_listen
        if listen is None:
            return None
        registry = self._metrics.registry
        if self._connection.fast_path is not None:
            registry = exported(registry, self._connection.fast_path.native)
        return metrics_listener(listen, registry, self._metrics)

    async def _reconcile(self) -> None:
        """After an unclean end, find the sizes of the files that nobody has used yet."""
        await trio.to_thread.run_sync(partial(self._volume.reconcile, lambda: self._ending))

    async def _reclaim(self) -> None:
        """Free what was unlinked or cut, in batches."""
        reclaimer = self._volume.fs.reclaimer
        if not reclaimer.idle:
            await trio.to_thread.run_sync(reclaimer.drain)

    async def _checkpoint(self) -> None:
        """Make everything durable now and then, and keep the index's log short."""
        checkpoints = self._volume.checkpoints
        if checkpoints.is_due():
            await trio.to_thread.run_sync(checkpoints.make)

    async def _recount(self) -> None:
        """After an unclean end count the inodes anew, a little at a time."""
        more = True
        while more:
            await trio.sleep(RECOUNT_EVERY_S)
            more = await trio.to_thread.run_sync(self._volume.index.recount)

    async def _tune(self) -> None:
        """Only a thread may look at our own mount: the answer comes from the event loop."""
        fast, mountpoint = self._connection.fast_path, self._connection.mountpoint
        jobs = [partial(tune, mountpoint)]
        if fast is not None:
            kib = native_read_ahead_kib(self._volume.settings.head)
            jobs = [partial(tune, mountpoint, kib=kib), partial(fast.prefetch_names, mountpoint)]
        for job in jobs:
            await trio.to_thread.run_sync(job, abandon_on_cancel=True)

    def _obeying(self, *, follows_terminal: bool) -> Callable[..., Awaitable[None]]:
        reload = partial(reload_policy, self._policy)
        return partial(obey_signals, self._unmount, reload, follows_terminal=follows_terminal)

    async def _unmount(self) -> None:
        """Unmount; what is in use is hidden, and ends with its last user, or soon.

        Where it is bound elsewhere, as by a container, it outlives its mountpoint as well.
        """
        try:
            await trio.to_thread.run_sync(self._connection.unmount)
        except MountFailed as exc:
            log.warning("%s; its users have %g s to finish", exc, LAST_USERS_S)
            await trio.to_thread.run_sync(self._hide)
        await trio.sleep(LAST_USERS_S)
        log.info("still in use after %g s; ending all the same", LAST_USERS_S)
        pyfuse3.terminate()

    def _hide(self) -> None:
        """What cannot be hidden was unmounted by somebody else, or lies under another mount."""
        with suppress(MountFailed):
            self._connection.unmount(lazy=True)


def _nothing() -> None:
    """What the event loop is asked to do, to see whether it does anything."""
