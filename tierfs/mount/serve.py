"""From an unmounted volume to a served mount and back."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import prometheus_client
import pyfuse3
import trio

from tierfs.base.errors import FsError, MountFailed
from tierfs.base.metrics import Metrics
from tierfs.core.front import MakeFront, no_front
from tierfs.core.volume import Volume, open_volume
from tierfs.mount.access_log import recording
from tierfs.mount.adapter import Adapter
from tierfs.mount.connection import Connection
from tierfs.mount.control import Verb, serve_control
from tierfs.mount.fast_path import fast_path
from tierfs.mount.native_metrics import exported
from tierfs.mount.options import MountOptions
from tierfs.mount.policy_explain import explain_files
from tierfs.mount.policy_in_force import PolicyInForce, policy_in_force
from tierfs.mount.policy_tasks import apply_policy, policy_status, reload_policy, watch_policy
from tierfs.mount.signals import hangups_wait, obey_signals
from tierfs.mount.status import status
from tierfs.mount.tiering import Tiering
from tierfs.mount.tuning import native_read_ahead_kib, tune
from tierfs.policy.volume_file import VolumeFile

log = logging.getLogger(__name__)

TASKS = 10_000
"""Requests under way at a time: more than the kernel queues, so none waits behind a slow one."""

RECLAIM_EVERY_S = 5.0
"""Like the journal of ext4 (commit=5): it syncs everything first, so it must not come too often."""

CHECKPOINT_CHECK_S = 1.0
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
        MountFailed: the kernel refused the mount, or the metrics' address is taken.
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
    volume = _open(settings, metrics, fast.make_front if fast else no_front, options)
    try:
        connection = Connection(mountpoint, fast)
        server = _Server(volume, connection, options, metrics, policy, ready)
        trio.run(partial(server.run, follows_terminal=follows_terminal))
    finally:
        volume.close()


def _wants_fast_path(settings: VolumeFile, options: MountOptions) -> bool:
    """With ``allow_root`` libfuse turns other users away, so that all must go through it."""
    if "allow_root" in options.fuse:
        log.info("the fast path is off: it does not know allow_root")
        return False
    return settings.fast_path.enabled if options.fast_path is None else options.fast_path


def _open(
    settings: VolumeFile, metrics: Metrics, make_front: MakeFront, options: MountOptions
) -> Volume:
    try:
        return open_volume(
            settings,
            metrics=metrics,
            make_front=make_front,
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
        self._tiering = Tiering(volume, metrics, connection.fast_path, moves=not options.read_only)
        self._started = time.monotonic()

    async def run(self, *, follows_terminal: bool) -> None:
        with closing(self._tiering), recording(self._volume, self._tiering):
            await self._run(follows_terminal=follows_terminal)

    async def _run(self, *, follows_terminal: bool) -> None:
        self._export_metrics()
        if self._policy is not None:
            self._policy.attach(self._tiering.apply)
        adapter = Adapter(
            self._volume.fs,
            self._metrics,
            writeback=self._options.writeback,
            masks=self._connection.leaves_umask_to_us,
            initialised=self._ready,
            fast_path=self._connection.fast_path,
        )
        with self._connection.open(adapter, self._volume.settings.path, self._options.fuse):
            async with trio.open_nursery() as helpers:
                await helpers.start(serve_control, self._volume.uuid, self._verbs())
                helpers.start_soon(self._reclaim)
                helpers.start_soon(self._checkpoint)
                helpers.start_soon(watch_policy, self._policy)
                helpers.start_soon(self._tiering.run)
                await helpers.start(self._obeying(follows_terminal=follows_terminal))
                helpers.start_soon(self._tune)
                helpers.start_soon(adapter.misses.publish)
                helpers.start_soon(self._connection.end_with_fast_path)
                await pyfuse3.main(max_tasks=TASKS)
                if self._policy is not None:
                    self._policy.stop()
                helpers.cancel_scope.cancel()

    def _export_metrics(self) -> None:
        listen = self._volume.settings.metrics_listen
        if listen is None:
            return
        host, port = listen
        registry = self._metrics.registry
        if self._connection.fast_path is not None:
            registry = exported(registry, self._connection.fast_path.native)
        try:
            prometheus_client.start_http_server(port, addr=host, registry=registry)
        except OSError as exc:
            path = self._volume.settings.path
            raise MountFailed(f"{path}: metrics: listen: {host}:{port}: {exc.strerror}") from exc

    def _verbs(self) -> dict[str, Verb]:
        """What the control socket answers."""
        return {
            "status": self._status,
            "policy apply": partial(apply_policy, self._policy),
            "policy explain": partial(explain_files, self._tiering.engine.explain),
            "policy plan": self._tiering.plan,
        }

    def _status(self) -> dict[str, object]:
        uptime = time.monotonic() - self._started
        shown = status(self._volume, self._connection, self._options, uptime)
        policy = self._policy and policy_status(self._policy)
        return {**shown, "policy": policy, "tiering": self._tiering.status()}

    async def _reclaim(self) -> None:
        """Free what was unlinked or cut, in batches."""
        reclaimer = self._volume.fs.reclaimer
        while True:
            await trio.sleep(RECLAIM_EVERY_S)
            if not reclaimer.idle:
                await _in_background(reclaimer.drain)

    async def _checkpoint(self) -> None:
        """Make everything durable now and then, and keep the index's log short."""
        checkpoints = self._volume.checkpoints
        while True:
            await trio.sleep(CHECKPOINT_CHECK_S)
            if checkpoints.is_due():
                await _in_background(checkpoints.make)

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


async def _in_background(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread; what fails is tried again the next time."""
    try:
        await trio.to_thread.run_sync(work)
    except (FsError, OSError) as exc:
        log.warning("in the background: %s", exc)
    except Exception:
        log.exception("in the background: an unexpected failure, which must not end the mount")
