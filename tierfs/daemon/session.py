"""The daemon of a mount: from an unmounted volume to a served mount and back.

``run`` reads options and volume file, begins the log, and reports to the command that waits.
``serve`` opens the volume, mounts it, runs the event loop with pyfuse3 and the background tasks,
answers the control socket and the metrics, and closes the volume when the mount has ended.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final

import pyfuse3
import trio

from tierfs.announcements.service import Announcements
from tierfs.common.collector import spare_what_is_there
from tierfs.common.errors import (
    ConfigError,
    FsError,
    IndexFailed,
    MountFailed,
    TierfsError,
    VolumeBusy,
    printable,
)
from tierfs.common.metrics import Metrics
from tierfs.common.units import KIB
from tierfs.daemon import service_manager
from tierfs.daemon.adapter import Adapter
from tierfs.daemon.adopting import Adopting
from tierfs.daemon.background import BackgroundTasks
from tierfs.daemon.backup import CHECKED_EVERY_S, COPIED_EVERY_S, Backups
from tierfs.daemon.changes import ChangeFeed, forget_nameless
from tierfs.daemon.checking import OnlineCheck
from tierfs.daemon.clearing import prepare
from tierfs.daemon.connection import Connection, Invalidation, native_read_ahead_kib
from tierfs.daemon.control import Verb, serving_control
from tierfs.daemon.finding import Finding
from tierfs.daemon.first_reads import FirstReadsOfMount
from tierfs.daemon.header_facts import HeaderFactsOfMount
from tierfs.daemon.holder import serve_when_free
from tierfs.daemon.listener import Listener, raise_descriptor_limit
from tierfs.daemon.logs import default_log_file, start_logging, stop_echo
from tierfs.daemon.maintenance import Maintenance
from tierfs.daemon.metrics import exposition, metrics_listener
from tierfs.daemon.native import EXTENSION, CacheFiller, fast_path
from tierfs.daemon.operations import Operations
from tierfs.daemon.options import (
    MountOptions,
    Privileges,
    for_kernel,
    parse_options,
    reading_only,
)
from tierfs.daemon.policy import (
    PolicyInForce,
    apply_policy,
    explain_files,
    policy_in_force,
    policy_status,
)
from tierfs.daemon.resent import SupervisedOperations, TakenOverOperations
from tierfs.daemon.run_file import RunFile
from tierfs.daemon.runtime import require_alone, runtime_directory
from tierfs.daemon.signals import handle_signals, hangups_ignored
from tierfs.daemon.startup import MountRequest, StartupNotifier
from tierfs.daemon.status import Served, Status, readiness, watch_tiers
from tierfs.daemon.tagging import Tagging
from tierfs.daemon.takeover import Supervised
from tierfs.daemon.tiering import Tiering, recording
from tierfs.daemon.watching import Watching
from tierfs.fs.identity import volume_uuid
from tierfs.fs.volume import Volume, open_volume, write_protected
from tierfs.policy.volume_file import VolumeFile, load_volume_file

log = logging.getLogger(__name__)

MAX_TASKS: Final = 10_000
"""Requests under way at a time: more than the kernel queues, so none waits behind a slow one."""

POLICY_CHECK_S: Final = 1.0

GARBAGE_THRESHOLD: Final = 10_000
"""Containers that are made and stay between two looks for cycles: some 50 bytes each at least."""

LAST_USERS_S: Final = 10.0
"""How long SIGTERM waits for programs that still use the mount."""


def run(
    request: MountRequest, notifier: StartupNotifier, supervised: Supervised | None = None
) -> None:
    """Serve ``request`` until it is unmounted; ``notifier`` reports that the mount is up, or not.

    With ``supervised``, continue with the mount of an earlier daemon, if there is one.

    Raises:
        TierfsError: there is no mount; ``notifier`` has reported it.
    """
    try:
        _serve(request, notifier, supervised)
    except TierfsError as error:
        notifier.failed(error.exit_code, str(error))
        if supervised is not None:
            supervised.failed(str(error))
        raise
    except Exception:
        log.critical("the daemon failed unexpectedly", exc_info=True)
        raise


def run_supervised(request: MountRequest, notifier: StartupNotifier, descriptor: int) -> None:
    """``run`` for the supervisor at the other end of the socket ``descriptor``."""
    with suppress(ImportError):  # which is told when the mount does without
        import_module(EXTENSION)
    run(request, notifier, Supervised(descriptor))


def _serve(request: MountRequest, notifier: StartupNotifier, supervised: Supervised | None) -> None:
    raise_descriptor_limit()
    reading = partial(_read, request)
    (options, settings, protected), earlier = (
        (reading(), None) if supervised is None else supervised.wait(reading)
    )
    log_to = settings.log
    background = notifier.pending if earlier is None else earlier.background
    if earlier is not None:  # the file may name others by now
        settings = replace(settings, flash=earlier.flash, disk=earlier.disk, index=earlier.index)
    if background and not log_to.file and log_to.format != "journald":
        # In the background there is no stderr for the log.
        log_to = replace(log_to, file=default_log_file(settings.path, volume_uuid(settings)))
        settings = replace(settings, log=log_to)
    if supervised is not None:
        supervised.background = background
    fields = {
        "TIERFS_VOLUME": os.fspath(settings.path),
        "TIERFS_MOUNTPOINT": os.fspath(request.mountpoint),
    }
    start_logging(settings.log, level=options.log_level, echo=notifier.pending, fields=fields)
    own = (settings.flash, settings.disk, settings.index, settings.policy, settings.log.file)
    if earlier is not None:
        mountpoint = request.mountpoint  # which nobody can look at yet
    else:
        mountpoint = prepare(request.mountpoint, [path for path in own if path is not None])

    warning = " ".join(f"{path} is write-protected, mounting read-only" for path in protected[:1])
    if warning:
        log.warning("%s: %s", settings.path, warning)

    def up() -> None:
        if earlier is not None and background:
            stop_echo(settings.log.file)
        log.info("%s is mounted on %s (%s)", settings.path, mountpoint, ",".join(options.shown))
        service_manager.ready(printable(f"{settings.path} is mounted on {mountpoint}"))
        if notifier.pending:
            stop_echo(settings.log.file)
            notifier.ready(warning)

    def serving() -> None:
        try:
            serve(settings, mountpoint, options, up, supervised)
        except BaseExceptionGroup as group:
            raise _without_group(group) from None

    serve_when_free(settings, serving)
    log.info("%s is unmounted from %s", settings.path, mountpoint)


def _read(request: MountRequest) -> tuple[MountOptions, VolumeFile, list[Path]]:
    """Options and settings of a request, and which directories are write-protected."""
    options = parse_options(request.options)
    settings = load_volume_file(request.volume_file)
    protected = [] if options.read_only else write_protected(settings)
    if protected:
        options = reading_only(options)
    options = for_kernel(options, Privileges.current(), trusted=not settings.allow_untrusted)
    return options, settings, protected


def _without_group(error: BaseException) -> BaseException:
    """The exception of a single task without the groups around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


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
            volume.index.group_commits()
        except IndexFailed as exc:
            volume.close()
            raise MountFailed(f"{settings.path}: the volume cannot be opened: {exc}") from exc
        except VolumeBusy:
            volume.close()
            raise
        run = RunFile(volume.uuid, settings.path, mountpoint)
        if supervised is not None:
            supervised.remember(settings, run.epitaph)
        connection = Connection(mountpoint, fast, invalidation, supervised)

        def up() -> None:
            connection.up(volume.descriptors)
            if supervised is not None:
                supervised.count(metrics)
            run.serving(connection.own)
            ready()

        def over() -> None:
            if supervised is None or not supervised.would_be_replaced():
                run.closing()

        try:
            session = _Session(volume, connection, options, metrics, policy)
            spare_garbage_collector()
            trio.run(partial(session.run, up, over, follows_terminal=follows_terminal))
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
    """End the process, and close or free nothing, if another daemon takes over the mount."""
    if supervised is not None and supervised.would_be_replaced():
        log.critical("serving ended, but not the mount", exc_info=exc_info)
        supervised.leave_to_next()


def spare_garbage_collector() -> None:
    """Make Python look for cycles more rarely, and never among the objects made so far.

    With its defaults, collections take a tenth of the time of creating files, 10 to 20 ms every few
    thousand files, while all requests wait. The objects of a request have no cycles.
    """
    spare_what_is_there()
    gc.set_threshold(GARBAGE_THRESHOLD)


def _wants_fast_path(settings: VolumeFile, options: MountOptions) -> bool:
    """Whether to use the router; with ``allow_root`` libfuse must see every request."""
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
        if not (volume.read_only or volume.inherited_counts):
            forget_nameless(volume.index)
            volume.index.index_tags([os.fsencode(tag) for tag in volume.settings.indexed_tags])
        self._backups = Backups(volume, metrics, lambda: self._ending)
        read_ahead = native_read_ahead_kib(volume.settings.head) * KIB
        self._first_reads = FirstReadsOfMount(volume, connection.fast_path, read_ahead)
        self._announcements = Announcements(
            connection.mountpoint,
            runtime_directory(os.geteuid()),
            volume.settings.training_memory,
            volume.settings.head,
            metrics,
            self._first_reads,
        )
        self._tiering = Tiering(
            volume,
            metrics,
            connection.fast_path,
            self._announcements.upcoming,
            self._first_reads,
            moves=not options.read_only,
        )
        self._facts = HeaderFactsOfMount(volume, self._tiering.engine.mover, metrics)
        self._maintenance = Maintenance(volume, connection, lambda: self._ending)
        self._ending = False
        self._token: trio.lowlevel.TrioToken | None = None

    async def run(
        self,
        ready: Callable[[], None],
        over: Callable[[], None],
        *,
        follows_terminal: bool,
    ) -> None:
        """Mount, and serve until the mount has ended; see ``serve`` and ``hangups_ignored``.

        ``over`` is called when it has: tasks that use the index may end later, if its device hangs.
        """
        with (
            closing(self._first_reads),
            closing(self._tiering),
            recording(self._volume, self._tiering),
        ):
            adapter, filler = self._handlers(ready)
            connection, source = self._connection, self._volume.settings.path
            with (
                self._answering(),
                connection.open(adapter, adapter.operations, source, self._options.fuse),
                closing(self._tiering.scrub),
                closing(self._announcements),
                closing(self._facts),
            ):
                async with trio.open_nursery() as tasks:
                    signals = partial(
                        handle_signals,
                        self._unmount,
                        self._reload_policy,
                        follows_terminal=follows_terminal,
                    )
                    await tasks.start(signals)
                    self._start_tasks(tasks)
                    tasks.start_soon(self._background.keep, "publish", filler.run)
                    tasks.start_soon(connection.end_with_fast_path)
                    await pyfuse3.main(max_tasks=MAX_TASKS)
                    self._ending = True
                    over()
                    service_manager.stopping()
                    if self._policy is not None:
                        self._policy.stop()
                    tasks.cancel_scope.cancel()

    def _start_tasks(self, tasks: trio.Nursery) -> None:
        """Start the background tasks.

        A thread that reads the policy, copies the feed, scrubs, reads facts or takes announcements
        is abandoned at the end: what it waits for may hang.
        """
        begin, background = tasks.start_soon, self._background
        leave = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
        self._maintenance.start(tasks, background)
        if self._policy is not None:
            begin(background.every, POLICY_CHECK_S, "policy", partial(leave, self._policy.poll))
        if self._backups.on:
            make_if_due = partial(trio.to_thread.run_sync, self._backups.make_if_due)
            begin(background.every, COPIED_EVERY_S, "feed", partial(leave, self._backups.copy))
            begin(background.every, CHECKED_EVERY_S, "backup", make_if_due)
        begin(self._tiering.run, background)
        begin(background.keep, "scrub", partial(leave, self._tiering.scrub.run))
        begin(background.keep, "training", partial(leave, self._announcements.run))
        if self._facts.run is not None:
            begin(background.keep, "facts", partial(leave, self._facts.run))

    def _handlers(self, ready: Callable[[], None]) -> tuple[Adapter, CacheFiller]:
        """The policy put in force, pyfuse3's handlers, and the task of cache fills."""
        if self._policy is not None:
            self._policy.attach(self._tiering.apply)
        fs, fast = self._volume.fs, self._connection.fast_path
        fs.verifier.drop_pages = self._connection.drop_pages
        filler = CacheFiller(fs.cache_fill)
        kind: type[Operations] = Operations
        supervised = self._connection.supervised
        if supervised is not None and fast:
            kind = TakenOverOperations if supervised.earlier else SupervisedOperations
        operations = kind(
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
                    partial(self._connection.read_bytes, self._metrics),
                )
            )
            resources.callback(status.close)
            adopting = Adopting(self._volume, self._connection)
            watching = Watching(
                self._tiering.attribution,
                self._tiering.engine.mover,
                self._metrics,
                self._connection.fast_path,
            )
            finding = Finding(self._volume, self._tiering.engine)
            resources.callback(finding.close)
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
                "sizes": self._tiering.sizes,
                "watch": watching.watch,
                "rules": self._tiering.rules,
                "heads": self._tiering.heads,
                "find": finding.find,
                "sql": finding.sql,
                "tags": Tagging(self._volume.fs, self._volume.index).set_tags,
                "changes": ChangeFeed(self._volume.index).changes,
                "forget reader": ChangeFeed(self._volume.index).forget,
                "fsck": OnlineCheck(self._volume, lambda: self._ending).check,
                "scrub start": self._tiering.scrub.start,
                "scrub pause": self._tiering.scrub.pause,
                "scrub status": self._tiering.scrub.status,
                "training status": self._announcements.show,
                "facts run": self._facts.start,
                "facts status": self._facts.status,
                "facts errors": self._facts.errors,
            }
            resources.enter_context(
                serving_control(
                    self._volume.uuid,
                    verbs,
                    self._metrics,
                    self._volume.settings.control_group,
                    group_finds=self._volume.settings.group_finds,
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
            trio.from_thread.run(self._maintenance.make_checkpoint, trio_token=self._token)
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

    async def _reload_policy(self) -> None:
        if self._policy is None:
            log.info("there is no tier policy to read: the volume file names none")
            return
        reload = partial(self._policy.reload, "SIGHUP")
        await trio.to_thread.run_sync(reload, abandon_on_cancel=True)

    async def _unmount(self) -> None:
        """Unmount; a mount in use is detached, and ends with its last user, or after a while.

        A mount that is bound elsewhere, as by a container, outlives its mountpoint as well.
        """
        try:
            await trio.to_thread.run_sync(self._connection.unmount)
        except MountFailed as exc:
            log.warning("%s; its users have %g s to finish", exc, LAST_USERS_S)
            with suppress(MountFailed):  # unmounted by somebody else, or below another mount
                await trio.to_thread.run_sync(partial(self._connection.unmount, lazy=True))
        await trio.sleep(LAST_USERS_S)
        log.info("still in use after %g s; ending anyway", LAST_USERS_S)
        pyfuse3.terminate()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # it runs from its source directory
        return "unknown"
