"""Who makes a request, where that counts beyond what the kernel has checked already."""

from __future__ import annotations

from typing import Protocol


class Caller(Protocol):
    """The process behind a request; asked only where the answer counts, since asking takes time."""

    def keeps_set_id(self) -> bool:
        """Whether set-user-ID and set-group-ID survive its changes of the bytes (CAP_FSETID)."""

    def in_group(self, gid: int) -> bool:
        """Whether it is in the group, or may do as if it were (CAP_FSETID)."""

    def owns(self, uid: int) -> bool:
        """Whether it is the user, or may do as the owner of a file may (CAP_FOWNER)."""

    def administers(self) -> bool:
        """Whether it sees ``trusted.`` attributes (CAP_SYS_ADMIN)."""


class _Privileged:
    """Root with all its capabilities."""

    def keeps_set_id(self) -> bool:
        return True

    def in_group(self, gid: int) -> bool:  # noqa: ARG002 - root is as good as in every group
        return True

    def owns(self, uid: int) -> bool:  # noqa: ARG002 - root may do as every owner may
        return True

    def administers(self) -> bool:
        return True


PRIVILEGED: Caller = _Privileged()
"""May everything."""
