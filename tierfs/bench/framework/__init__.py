"""The frame that every scenario is measured in.

A **scenario** (`scenario.Scenario`) is a workload: it makes its files on a side once, and each run
gives one value for every **figure** (`scenario.Figure`, a name with a unit). A **side**
(`side.Side`) is a directory with a name: a mount, the bare directory, a peer over the same data.
`runner.measure` takes turns: every side once, then every side again, so that a machine that
becomes slower does so for all of them. A **result** (`result.Result`) is the values of one figure
on one side, one a turn; its ratio to the baseline is taken turn by turn. A **report**
(`report.Report`) holds all results and the conditions they were got under; `report.rows`,
`report.as_json` and `chart.draw` show it.

What a new scenario looks like::

    class Opening:
        name = "opening"
        figures = (
            Figure("first open", "files/s", needs=Coldness.KERNEL),
            Figure("again", "files/s"),
        )

        def prepare(self, side: Side) -> None:
            ...  # make the files below side.directory, or find them there; nothing is timed

        def run(self, turn: Turn) -> Mapping[str, float]:
            paths = ...
            turn.chill()  # drop the caches of this side, as it says itself
            first = turn.timed([partial(open_all, paths)])  # each work in a process of its own
            again = turn.timed([partial(open_all, paths)])
            return {"first open": len(paths) / first.seconds, "again": len(paths) / again.seconds}

        def finish(self, side: Side) -> None:
            ...  # remove what must not stay

Works run in forked processes, so a work may be any callable, and what it returns must be
picklable. No thread may run in the process that measures. A side whose caches are more than the
kernel's, such as a simulated disk, brings a ``chill`` of its own. Files lie below
``work_directory(side)``, where users find and delete them.

A verb of the command line is a click command in ``tierfs/cli/bench/``, listed in ``VERBS`` of
``tierfs/cli/bench/group.py``; ``options.measured`` gives it the sides, ``--repeat``, ``--pin``,
``--json``, ``--chart`` and so on as a `Setup`, and ``show.run`` measures and shows.
"""
