"""renameat2(2), which Python does not offer."""

import ctypes
import os

from tests.model.driver import RenameFlags, os_error

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
]


def renameat2(directory: int, source: bytes, target: bytes, flags: RenameFlags) -> None:
    """Rename `source` to `target`, both relative to the open `directory`."""
    if _libc.renameat2(directory, source, directory, target, int(flags)) != 0:
        raise os_error(ctypes.get_errno() or os.EX_OSERR)
