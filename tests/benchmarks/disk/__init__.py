"""A directory that is as slow as a spinning disk: a passthrough filesystem with delays.

``model`` computes what an access costs, ``layout`` where the bytes of files lie; ``nodes`` hands
each call to the backing directory, ``operations`` are pyfuse3's handlers, ``serve`` mounts and lets
each read and write wait for its turn.
"""
