"""The metadata index: every name, attribute and extended attribute, in SQLite.

What other packages use:

- ``index``: an `Index` is open in the daemon, with its tables, transactions and serials.
- ``inodes``, ``dentries``, ``pins_and_requests``, ``recovery``, ``usage``, ``checksums``,
  ``header_facts``: the rows of its tables.
- ``cache_updater``: the metadata cache, as the index fills it and keeps it true.
- ``reader``: reading beside the daemon's writer, in the daemon or in another process.
- ``feed``, ``feed_copy``, ``copying``, ``restoring``: the change feed, its copy, a copy of the
  index made beside its writer, and an index made again from these.
- ``integrity``: checks and repairs of an index that nobody has open.

The other modules alone know SQLite: ``sqlite`` (connections, errors), ``wal``
(durability, checkpoints, preallocation), ``database`` (transactions), ``schema``, the tables.
"""
