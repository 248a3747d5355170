"""What belongs on flash: heat, target placements, and the engine that has files moved.

Every second the mount calls `engine.Engine.tick`. A tick takes in what was read and changed, lets
the planners look at some files, and queues jobs for the mover. No module here moves a byte itself:
that is `tierfs.fs.migration`, which the mover calls. The clocks come from the caller.

What a tick goes through, from the top; a module imports only those in lines below its own::

    engine      the tick, the policy in force, answers to the mount and to users
    manual      pins and requests: ManualPlanner
    promotion   which candidates come to flash: PromotionPlanner
    scanner     which files to look at: Scanner, RecentActivity, Exposure
    eviction    which residents leave when flash is full: EvictionPlanner
    context     what the planners share; files put off: Backoff, Debounce, MirrorBacklog
    mover       the threads that do jobs: JobQueue, TokenBucket, Suspension
    target      where the policy wants a file: PolicyEvaluator
    selection   pure choices: Candidate, Resident, EvictionPool, Census, to_evict, promotions
    state       what the engine reports: EngineState, metrics, Tally
    watermarks  how full flash may be: Levels, Moment
    model       the values that all of them share: Step, Job, Target, Waiting
    ports       what is needed of the filesystem below: Catalog, Migrator; ScanCursor
    replacement what a file on flash is worth: admit
    heat        how much each file was read, and when it will be read again: Heat

Beside the tick:

- `forecast`: what would be moved now (`tierfs policy plan`);
- `heat_file`: the heat table, kept over a restart, in a `snapshot_file`;
- `first_reads`: how far into files is read first, and `head_sizes`, which heads suit that
  (`tierfs advise`);
- `scrub`: all files read and compared with their checksums, a little at a time;
- `disk_usage`: what directories have on each tier (`tierfs du`);
- `access_log` (the format, and reading it) and `access_recorder` (writing it on a mount);
- `replay`: an access log played through policies (`tierfs policy replay`), by the same
  ``selection``, ``replacement``, ``target`` and ``watermarks`` as on a mount.

Where state is: what is known of reads in `heat.Heat`; jobs in `mover.Mover.queue`; residents in
`context.Context.pool`, candidates in ``.candidates``, heads to mirror in ``.mirroring``; the
position of a scan in its `ports.ScanCursor`; pins and requests in the index. All of it but heat
and the index is bounded and may be lost: the next scan finds it again.
"""
