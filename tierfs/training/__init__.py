"""Tell a tierfs mount in which order a training job reads its files, so that it reads ahead.

Pure Python, for the process of the job. Where the files are in no tierfs mount, or its daemon
does not listen, everything here works and tells nobody.

- ``AnnouncedSampler`` wraps a sampler of ``torch.utils.data``.
- ``announce`` is the same for any order of paths.
- ``record_reads`` measures how far into files the process reads first, for ``tierfs advise``.

How a job and the daemon talk: docs/reference/announcements.md.
"""

from tierfs.training.order import AnnouncedSampler, announce
from tierfs.training.recording import record_reads

__all__ = ["AnnouncedSampler", "announce", "record_reads"]
