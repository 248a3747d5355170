"""The YAML files that people write: the volume file and the tier policy.

Bottom up:

- ``match``: a file's facts, and trees of conditions.
- ``model``: what a policy says once it is read, what it decides for a file, and why; no YAML.
- ``diagnostics``: mistakes with line, column and hint, all of a file in one error.
- ``yaml``: a file to a tree of nodes, each with its position.
- ``schema``: the keys of a mapping, their readers and defaults; JSON Schema of the same.
- ``values``, ``units``, ``schedule``, ``glob``: readers of single values: words, lists, paths and
  accounts; sizes, durations, rates and comparisons; times of the week; patterns.
- ``conditions``: every condition of a rule, with the key that reads it, and the key ``match``.
- ``volume_file``, ``volume_template``: the volume file, read and written.
- ``policy_keys``, ``tier_policy``: the other keys of a policy; `load_policy`, which reads one.

A new condition goes to ``conditions``: its class, its field, and the field in ``MATCH_SCHEMA``.
What it asks of a file's row of the index is an attribute of ``match.FileRow``. Then
``python -m tests.policy.policy_page`` writes its row of docs/reference/tier-policy.md.
"""
