"""Questions about a volume that the index answers, in processes of their own.

Bottom up:

- ``expression``: the text of an expression to a tree, with the column of every mistake.
- ``quantities``: how numbers, times and words are written in it.
- ``fields``: every field that an expression may name, in one table, and its tests as SQL.
- ``compiling``: a tree to a condition of SQL, and what is left to be tested in Python.
- ``page``: what SQL does not have of the rows of one page: paths, pins, heat.
- ``find``: the files that an expression holds for, in pages; nothing is walked.

A new field goes to ``fields``: a row of `FIELDS`; where its value comes from `Page`, a method there
too. Then ``python -m tests.query.expression_page``
writes docs/reference/expressions.md.
"""
