"""The YAML files that people write: the volume file and the tier policy.

Bottom up:

- ``diagnostics``: mistakes with line, column and hint, all of a file in one error.
- ``yaml``: a file to a tree of nodes, each with its position.
- ``schema``: the keys of a mapping, their readers and defaults; JSON Schema of the same.
- ``values``, ``units``, ``schedule``, ``glob``: readers of single values: words, lists, paths and
  accounts; sizes, durations, rates and comparisons; times of the week; patterns.
- ``volume_file``, ``volume_template``: the volume file, read and written.
- ``model``: what a policy says once it is read; no YAML.
- ``conditions``: a file's facts, and the tree of conditions that a rule tests them with.
- ``match``: the key ``match`` of a rule, read into such a tree.
- ``policy_keys``, ``tier_policy``: the other keys of a policy; `load_policy`, which reads one.
- ``evaluate``: which rule holds for a file, and why.

A new condition goes to ``conditions`` (what it tests) and ``match`` (its key).
"""
