"""Where the mount may differ from a native filesystem, and who decides so.

A case that is listed must differ: one that agrees is to be taken off the list. None is tierfs's own
choice. Where native filesystems differ among themselves, the mount does as one of them does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Exception_:  # noqa: N801
    """Why a case differs."""

    kind: Literal["binding", "kernel"]
    """Who decides: pyfuse3, or Linux."""
    reason: str


EXCEPTIONS: dict[str, Exception_] = {
    # ------------------------------------------------------------ names, limits
    "cases_names.fifo_touched_by_use": Exception_(
        "kernel", "an inode of FUSE has S_NOCMTIME, and the daemon is not told of a FIFO's bytes"
    ),
    "cases_limits.read_beyond": Exception_(
        "kernel", "lseek: to FUSE the largest file has 2^63-1 bytes, whatever the volume takes"
    ),
    "cases_rare.where_blocks_are[request=FIEMAP]": Exception_(
        "kernel", "FUSE has no FIEMAP: EOPNOTSUPP"
    ),
    "cases_rare.wait_for_a_file_with_epoll[name=file]": Exception_(
        "kernel", "every file of FUSE can be polled, so epoll takes it: always ready"
    ),
    # ------------------------------------------------------------ open, bytes
    "cases_open_flags.direct_without_alignment": Exception_(
        "kernel", "FUSE does O_DIRECT with any offset, length and buffer"
    ),
    "cases_data.preadv2[flag=8]": Exception_("kernel", "FUSE has no RWF_NOWAIT: EOPNOTSUPP"),
    "cases_data.preadv2[flag=128]": Exception_("kernel", "FUSE has no RWF_DONTCACHE: EOPNOTSUPP"),
    "cases_data.pwritev2[flag=128]": Exception_("kernel", "FUSE has no RWF_DONTCACHE: EOPNOTSUPP"),
    "cases_data.seek_beyond_the_largest_file": Exception_(
        "kernel", "to FUSE the largest file has 2^63-1 bytes; writing there gives EFBIG as on ext4"
    ),
    "cases_data_sync.fallocate[how=collapse]": Exception_(
        "kernel", "FUSE knows no FALLOC_FL_COLLAPSE_RANGE: EOPNOTSUPP"
    ),
    "cases_data_sync.fallocate[how=insert]": Exception_(
        "kernel", "FUSE knows no FALLOC_FL_INSERT_RANGE: EOPNOTSUPP"
    ),
    "cases_data_sync.the_present_marks_both_times_alike": Exception_(
        "binding", "it replaces UTIME_NOW by a time of its own, a little before that of the change"
    ),
    # ------------------------------------------------------------ attributes, xattrs, ACLs
    "cases_attributes_odd.read_flags": Exception_("binding", "no handler for IOCTL: ENOTTY"),
    "cases_attributes_odd.set_flags": Exception_("binding", "no handler for IOCTL: ENOTTY"),
    "cases_attributes_odd.read_project": Exception_("binding", "no handler for IOCTL: ENOTTY"),
    "cases_acl.many_entries[count=508]": Exception_(
        "kernel", "a list of more than a page is E2BIG on FUSE (fuse_set_acl)"
    ),
    "cases_acl.many_entries[count=1000]": Exception_(
        "kernel", "a list of more than a page is E2BIG on FUSE (fuse_set_acl)"
    ),
}
"""By the name of a case, or by module.function for all its parameters."""

_NO_FALLOCATE = Exception_("binding", "no handler for FALLOCATE: EOPNOTSUPP")
_NO_LSEEK = Exception_(
    "binding", "no handler for LSEEK: a file is one piece of data with a hole at its end"
)
_NO_TMPFILE = Exception_("binding", "no handler for TMPFILE: EOPNOTSUPP")
_NO_STATX = Exception_(
    "binding", "no handler for STATX: the kernel asks with GETATTR, which has no such time"
)
WITHOUT_FAST_PATH: dict[str, Exception_] = {
    "cases_xattr.create_and_replace_at_once": Exception_(
        "binding", "it looks at XATTR_CREATE first and then no longer at XATTR_REPLACE"
    ),
    "cases_limits.limit_of_the_process_on_posix_fallocate": Exception_(
        "binding", "no handler for FALLOCATE: the C library writes up to the limit, then fails"
    ),
    "cases_data_mmap.madvise_that_punches_a_hole": _NO_FALLOCATE,
    "cases_data_sync.fallocate": _NO_FALLOCATE,
    "cases_data_sync.posix_fallocate_where_the_c_library_cannot_help": Exception_(
        "binding", "no handler for FALLOCATE: the C library says EBADF"
    ),
    "cases_data_sync.posix_fallocate_within_the_file_touches": Exception_(
        "binding", "no handler for FALLOCATE: the C library sees that there is nothing to write"
    ),
    "cases_data_ranges.fallocate_at_every_edge": _NO_FALLOCATE,
    "cases_data_ranges.blocks_after_fallocate": _NO_FALLOCATE,
    "cases_data_ranges.fallocate_touches": _NO_FALLOCATE,
    "cases_data_ranges.set_id_on_fallocate": _NO_FALLOCATE,
    "cases_data_ranges.posix_fallocate_and_append": _NO_FALLOCATE,
    "cases_data_ranges.punched_of_an_unlinked_file": _NO_FALLOCATE,
    "cases_data_ranges.what_is_cached_goes_with_a_hole": _NO_FALLOCATE,
    "cases_data.seek_in_a_file_with_holes": _NO_LSEEK,
    "cases_data_ranges.holes_are_where_they_were_punched": _NO_LSEEK,
    "cases_data_ranges.holes_are_where_nothing_was_written": _NO_LSEEK,
    "cases_data_ranges.data_that_is_only_mapped": _NO_LSEEK,
    "cases_open.temporary_file": _NO_TMPFILE,
    "cases_data_ranges.nameless_file_gets_a_name": _NO_TMPFILE,
    "cases_data_ranges.nameless_file_that_loses_its_name_again": _NO_TMPFILE,
    "cases_data_ranges.nameless_file_of_somebody": _NO_TMPFILE,
    "cases_data_ranges.nameless_file_touches": _NO_TMPFILE,
    "cases_data_ranges.nameless_files_have_bytes_of_their_own": _NO_TMPFILE,
    "cases_attributes_stat.statx_birth_time": _NO_STATX,
    "cases_data_ranges.birth_is_the_first_change": _NO_STATX,
    "cases_data_ranges.birth_stays": _NO_STATX,
}
"""By module.function: without the fast path some of these cases differ, as pyfuse3 cannot do it."""

VARIATIONS: dict[str, str] = {
    "cases_attributes_odd.preferred_block_size": (
        "4096 on ext4 and tmpfs; on XFS what the options largeio and allocsize say"
    ),
}
"""By module.function: cases in which the filesystems of `places.natives` differ, with how."""
