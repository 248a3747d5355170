"""What belongs on flash: heat, target placements, and the engine that has files moved.

Every second the mount calls `engine.Engine.tick`. A tick observes what was read and changed, lets
the planners look at some files, and gives the mover jobs. No module here moves a byte itself: that
is `tierfs.fs.migration`, which the mover calls. The clocks come from the caller.

What a tick goes through, from the top; a module imports only those below it::

    engine      the tick, the policy in force, what the mount and people ask
    manual      pins and requests of people: ManualPlanner
    promotion   who comes to flash: PromotionPlanner; files just read or changed: RecentActivity
    eviction    who goes when flash is full: EvictionPlanner
    scanner     scans of the index: Scanner, ScanCursor, Census, Exposure
    explain     why a file belongs where it does, why it is not there
    context     what the planners share; files put off: Backoff, Debounce
    mover       the threads that move files; how fast: TokenBucket, Suspension
    selection   pure choices: Candidate, Resident, EvictionPool, victims, promotions
    state       what is told: EngineState, metrics, WaitReason, Tally
    jobs        Step, Job, JobQueue, MirrorBacklog
    target      where the policy wants a file: Target, PolicyEvaluator
    replacement what a file on flash is worth: admit
    ports       what is needed of the filesystem below: Catalog, Migrator
    watermarks  how full flash may be: Levels, Moment
    heat        how much each file was read: Heat; when it will be read again

Beside the tick:

- `forecast`: what would be moved now (`tierfs policy plan`);
- `heat_file`: the heat table, kept over a restart;
- `access_log` (the format, and reading it) and `access_recorder` (writing it on a mount);
- `replay`: an access log played through policies (`tierfs policy replay`), by the same
  ``selection``, ``replacement``, ``target`` and ``watermarks`` as on a mount.

Where state is: what is known of reads in `heat.Heat`; jobs in `mover.Mover.queue`; residents in
`context.Context.pool`, candidates in ``.candidates``, heads to mirror in ``.mirroring``; the
position of a scan in its `scanner.ScanCursor`; pins and requests in the index. All of it but heat
and the index is bounded and may be lost: the next scan finds it again.
"""
