"""What a worker process gives up before it sees the first byte of a file.

It becomes nobody, if it is root; can gain no privilege; has limits on memory and descriptors; is in
a network namespace without a network, where it may make one; and a filter of system calls
(seccomp(2)) refuses what opens a path, a socket or a program, and what makes a process. What the
kernel refuses here, as in some containers, is left out and reported, except for the filter and the
change of user: without these no file is looked at.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path
from typing import Final

NOBODY: Final = 65534

MEMORY: Final = 1 << 30
"""Bytes of address space beyond what the process has when it has loaded its libraries."""
DESCRIPTORS: Final = 64
CPU_S: Final = 3600
"""Seconds of processor time until the kernel ends it; the daemon ends it much earlier."""

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
"""The system call has no wrapper in the C library."""
_SET_MODE_FILTER, _FOR_ALL_THREADS = 1, 1
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000

_REFUSED: Final = {
    "x86_64": (
        0xC000003E,
        {
            *(2, 85, 257, 437),  # open, creat, openat, openat2
            *(56, 57, 58, 435),  # clone, fork, vfork, clone3
            *(59, 322),  # execve, execveat
            *(41, 42, 43, 49, 50, 53, 288),  # socket, connect, accept, bind, listen, socketpair
            *(62, 101, 200, 234, 310, 311, 424),  # kill, ptrace, tkill, process_vm_*, pidfd_*
            *(76, 82, 83, 84, 86, 87, 88, 90, 92),  # truncate, rename, mkdir, link, unlink, chmod
            *(258, 263, 264, 265, 266, 268, 316),  # the same with a directory
            *(165, 166, 155, 161, 272, 308),  # mount, umount2, pivot_root, chroot, unshare, setns
            *(321, 323, 298, 425, 426, 427, 434, 438),  # bpf, userfaultfd, perf, io_uring, pidfd
            *(250, 248, 249, 175, 313, 246, 320),  # keys, modules, kexec
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            *(56, 437),  # openat, openat2
            *(220, 435),  # clone, clone3
            *(221, 281),  # execve, execveat
            *(198, 199, 200, 201, 202, 203, 242),  # socket, socketpair, bind, listen, connect
            *(129, 130, 131, 117, 270, 271, 424),  # kill, tkill, tgkill, ptrace, process_vm_*
            *(45, 38, 276, 34, 35, 36, 37, 53, 54),  # truncate, renameat, mkdirat, linkat
            *(40, 39, 41, 51, 97, 268),  # mount, umount2, pivot_root, chroot, unshare, setns
            *(280, 282, 241, 425, 426, 427, 434, 438),  # bpf, userfaultfd, perf, io_uring, pidfd
            *(217, 218, 219, 105, 273, 104, 294),  # keys, modules, kexec
        },
    ),
}
"""By machine: how the kernel calls it (linux/audit.h), and the numbers of refused system calls."""

_X32: Final = 0x40000000
"""Numbers from here on are system calls of another calling convention (x32)."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


class NotConfined(OSError):
    """The process could not give up what it must not have."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine() -> list[str]:
    """Give up everything; returns what the kernel refused to take.

    Raises:
        NotConfined: the process is still root, or no filter of system calls could be set.
    """
    refused = []
    if not _leave_network():
        refused.append("network namespace")
    _become_nobody()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    for limit, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise _failure("prctl")
    _filter_calls(libc)
    return refused


def _leave_network() -> bool:
    """Go to a network namespace of its own, which has nothing but a loopback that is down."""
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    return not _libc().unshare(flags)


def _become_nobody() -> None:
    if os.geteuid() == 0:
        os.chdir("/")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if 0 in os.getresuid() or 0 in os.getresgid():
        raise NotConfined(errno.EPERM, "the process is still root")


def _filter_calls(libc: ctypes.CDLL) -> None:
    if platform.machine() not in _REFUSED:
        raise NotConfined(errno.ENOSYS, f"no filter of system calls for {platform.machine()}")
    machine, numbers = _REFUSED[platform.machine()]
    program = _program(machine, sorted(numbers))
    code = ctypes.create_string_buffer(program)
    filter_ = _Program(len(program) // 8, ctypes.addressof(code))
    number = _SECCOMP[platform.machine()]
    if libc.syscall(number, _SET_MODE_FILTER, _FOR_ALL_THREADS, ctypes.byref(filter_)):
        raise _failure("seccomp")


def _program(machine: int, numbers: list[int]) -> bytes:
    """The filter, in the kernel's form (struct sock_filter, linux/filter.h).

    Each comparison jumps over what is left of the comparisons, and one more instruction, to the
    refusal. A jump reaches 255 instructions.
    """
    steps = [
        (_LOAD, 0, 0, 4),  # the machine
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the system call
        (_AT_LEAST, len(numbers) + 1, 0, _X32),
        *((_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _failure(what: str) -> NotConfined:
    number = ctypes.get_errno()
    return NotConfined(number, f"{what}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
