"""The check of a volume: what is lost, what is damaged, what takes room.

Bottom up:

- ``kinds``: every kind of finding, how bad it is and what to do, in one table.
- ``faults``: what is known of one inode number, and what is wrong with it.
- ``objects``: reading the object directories.
- ``check``: one pass over index and objects, merged by inode number; `Finding` and `Report`.
- ``online``: the same beside the daemon of a mounted volume.
- ``repair``: what can be repaired without losing a byte or a name, and without a guess.

A new kind of finding goes to ``kinds``, to ``faults`` or ``check``, and, if it can be repaired, to
the table of ``repair``.
"""
