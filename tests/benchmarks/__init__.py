"""Benchmarks of tierfs, and a simulated disk: ``python -m tests.benchmarks``.

A **scenario** (`scenario.Scenario`) makes its files on a side once; each run gives a value for
every **figure**. A **side** is a directory with a name: a mount, the bare directory, a peer over
the same data. `runner.measure` takes turns: every side once, then every side again, so that a
machine that becomes slower does so for all of them. A **result** (`report.Result`) is the values of
a figure on a side, one a turn; its ratio to the baseline is taken turn by turn.

    __main__               the command line
    suite, sides, wanted   the acceptance run: its groups, its volumes and peers, its demands
    paired                 this tierfs beside another one
    reading, waiting, changes, tree, mover, daemon   the scenarios; datasets, loops: what they share
    scenario, runner, report   the frame; machine, processes: caches, pinning, forked readers
    stage                  volumes that live as long as a run
    disk                   a directory as slow as a spinning disk; spinning: tierfs upon one
    demo                   ``make demo``
    policies               replacement policies, simulated

A new scenario is a class with ``name``, ``figures``, ``prepare``, ``run`` and ``finish``, as in
`scenario.Scenario`. Its works run in forked processes: what they return must be picklable, and no
thread may run in the process that measures. Files lie below ``work_directory(side)``.
"""
