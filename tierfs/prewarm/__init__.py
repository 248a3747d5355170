"""``tierfs warm``: names, heads and, asked to, tails into the kernel's caches, in disk order.

It works on the mount as any program does and knows nothing of the volume below; what it asks the
mount for is one virtual extended attribute, ``tierfs.head``. Bottom up:

- ``caches``: what the kernel holds of a file, asked without reading it.
- ``counts``: what became of the files.
- ``find``: which files, in disk order.
- ``warm``: reading them, or only looking, with a pool of threads.
"""
