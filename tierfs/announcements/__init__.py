"""Reading ahead in the order that training jobs announce.

A job says which files it reads next (``tierfs.training``), and this package reads them into the
page cache before: through a copy of the mount that nobody else sees, as any program would. It
knows nothing of the volume below. Bottom up:

- ``protocol``: what a job may say, and the limits on it.
- ``plan``: which file is read next, for whom. Pure.
- ``peer``: who a job is, and looking a path up as that user.
- ``reading``: the copy of the mount, and reading by it.
- ``machine``: how much may be read ahead, and whether cores are free.
- ``service``: the socket, the threads, and what is counted.
"""
