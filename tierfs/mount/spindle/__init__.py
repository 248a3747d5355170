"""A directory that behaves like a spinning disk: a passthrough filesystem with delays.

``nodes`` hands each call to the backing directory, ``operations`` are pyfuse3's handlers,
``head`` lets each read and write wait for its turn, ``serve`` mounts. What an access costs is
computed by `tierfs.bench.spindle_model`, and where a file lies by `tierfs.bench.spindle_layout`.
"""
