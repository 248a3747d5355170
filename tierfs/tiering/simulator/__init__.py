"""Replacement policies on recorded or made-up reads, with a virtual clock.

`access.Access` is one read or write; a `workloads.Workload` is a list of them; a `simulate.Policy`
says what is on flash; `simulate.simulate` counts hits and bytes moved. Everything follows from the
seed: two runs give the same numbers on every machine.
"""
