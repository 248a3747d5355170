r"""Mount options: the names and meanings of mount(8) and mount.fuse3(8), and tierfs's own.

Pure: ``parse_options`` reads the words of ``-o``, ``for_kernel`` adds what every tierfs mount
has. Of options that contradict each other the last wins, as in mount(8).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tierfs.common.errors import UsageError

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "access": ("rw", "ro"),
    "set-user-ID": ("suid", "nosuid"),
    "devices": ("dev", "nodev"),
    "programs": ("exec", "noexec"),
    "writes": ("async", "sync"),
    "directory writes": ("dirsync",),
    "access times": ("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"),
    "other users": ("allow_other", "allow_root"),
    "write cache": ("writeback", "nowriteback"),
    "fast path": ("fastpath", "no_fastpath"),
    "missing volume": ("fail", "nofail"),
    "damaged volume": ("noforce", "force"),
    "supervisor": ("nosupervise", "supervise"),
}
"""Options that exclude each other."""

IMPLIED: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("noexec", "nosuid", "nodev"),
    "users": ("noexec", "nosuid", "nodev"),
    "owner": ("nosuid", "nodev"),
    "group": ("nosuid", "nodev"),
}
"""mount(8): these options of an fstab line imply others, which later options can override."""

WITHOUT_EFFECT: Final = frozenset(
    {
        *("defaults", "auto", "noauto", "nouser", "noowner", "nogroup", "_netdev"),
        *("silent", "loud", "mand", "nomand", "iversion", "noiversion"),
        *("diratime", "nodiratime", "lazytime", "nolazytime", "default_permissions"),
    }
)
"""Only for mount(8) or systemd, or always so here; accepted, so that fstab lines work."""

NOT_FOR_KERNEL: Final = frozenset(
    {
        *("atime", "relatime", "norelatime", "strictatime", "nostrictatime"),
        *GROUPS["write cache"],
        *GROUPS["fast path"],
        *GROUPS["missing volume"],
        *GROUPS["damaged volume"],
        *GROUPS["supervisor"],
    }
)
"""Options that tierfs handles itself and the kernel does not know."""

REFUSED: Final[Mapping[str, str]] = {
    "remount": "unmount, and mount again with the other options",
    "max_read": "pyfuse3 does not let libfuse agree to it",
    "auto_unmount": "a mount whose daemon was killed is replaced by mounting again",
}
"""Options of mount(8) and FUSE that are not supported, and what to do or why."""

LOG_LEVEL: Final = "log_level"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
COMMENTS: Final = ("x-", "X-", "comment=", "user=", "uhelper=", "helper=")
"""Beginnings of options for other programs (mount(8), systemd.mount(5))."""

_WORD: Final = re.compile(r'(?:\\.|"[^"]*"|[^,\\"]|["\\])+')


class FuseOption(str):
    """An option for ``pyfuse3.init``, which encodes options as ASCII: a path may hold any byte."""

    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        """The bytes as in a file name; ``pyfuse3`` asks for ASCII."""
        return os.fsencode(str(self))


@dataclass(frozen=True, slots=True)
class Privileges:
    """What the mounting user may do."""

    root: bool
    user_allow_other: bool
    """/etc/fuse.conf has the line ``user_allow_other``."""

    @classmethod
    def current(cls, fuse_conf: Path = Path("/etc/fuse.conf")) -> Privileges:
        """The privileges of this process."""
        try:
            lines = fuse_conf.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return cls(os.geteuid() == 0, "user_allow_other" in map(str.strip, lines))

    @property
    def may_allow_others(self) -> bool:
        """Whether fusermount3 will accept ``allow_other``."""
        return self.root or self.user_allow_other


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Parsed options; those in ``fuse`` are for the kernel."""

    fuse: frozenset[str] = frozenset()
    shown: tuple[str, ...] = ()
    """The options to show, in the order of ``GROUPS``."""
    read_only: bool = False
    noatime: bool = False
    writeback: bool = False
    fast_path: bool | None = None
    """None: as in the volume file."""
    nofail: bool = False
    force: bool = False
    """Mount although a check found damage."""
    log_level: str | None = None
    supervise: bool = False
    """Let a parent process start another daemon when this one ends."""


def parse_options(arguments: Iterable[str]) -> MountOptions:
    """The meaning of the arguments of ``-o``, each a comma-separated list.

    Raises:
        UsageError: an option is unknown, lacks a value or has a bad one.
    """
    chosen = _last_of_each_group(word for text in arguments for word in split_words(text))
    words = tuple(chosen.values())
    return MountOptions(
        fuse=frozenset(word for word in words if _is_for_kernel(word)),
        shown=words,
        read_only="ro" in words,
        noatime="noatime" in words,
        writeback="writeback" in words,
        fast_path={"fastpath": True, "no_fastpath": False}.get(chosen.get("fast path", "")),
        nofail="nofail" in words,
        force="force" in words,
        log_level=chosen.get(LOG_LEVEL, "").partition("=")[2] or None,
        supervise="supervise" in words,
    )


def reading_only(options: MountOptions) -> MountOptions:
    """The same, read-only, as mount(8) does for a write-protected device.

    ``rw`` may be among the options: mount(8) adds it to a line without ``ro``.
    """
    return replace(
        options,
        fuse=options.fuse - {"rw"} | {"ro"},
        shown=_in_order({*options.shown} - {"rw"} | {"ro"}),
        read_only=True,
    )


def split_words(text: str) -> list[str]:
    r"""The words between commas; a comma in quotes or after ``\`` belongs to the word."""
    return [word for word in _WORD.findall(text) if word]


def known_words(words: Iterable[str]) -> list[str]:
    """Those of ``words`` that ``parse_options`` takes: the sloppy mode of mount(8)."""
    known = []
    for word in words:
        with suppress(UsageError):
            parse_options([word])
            known.append(word)
    return known


def for_kernel(
    options: MountOptions, privileges: Privileges, *, trusted: bool = True
) -> MountOptions:
    """The options that a mount by a user with ``privileges`` gets.

    ``trusted``: no other user can write to the volume's directories. Otherwise set-user-ID programs
    and devices do not work, whatever the options say.

    Raises:
        UsageError: this user may not use ``allow_other`` or ``allow_root``.
    """
    given = set(options.shown)
    if not (privileges.root and trusted):
        given -= {"suid", "dev"}  # fusermount3 allows them to no user
    added = _defaults(given, privileges, trusted=trusted)
    for_fuse = {word for word in given if _is_for_kernel(word)}
    return replace(
        options,
        fuse=frozenset({*for_fuse, *added, "default_permissions"}),
        shown=_in_order({*given, *added, "default_permissions"}),
    )


def _defaults(given: set[str], privileges: Privileges, *, trusted: bool) -> list[str]:
    """``rw``; for root suid and dev as in mount(8); and allow_other where it is allowed."""
    sharing = given & set(GROUPS["other users"])
    if sharing and not privileges.may_allow_others:
        raise UsageError(
            f"mount option {sharing.pop()!r} is for root, or for everyone once the line "
            "'user_allow_other' stands in /etc/fuse.conf"
        )
    wanted = [] if "ro" in given else ["rw"]
    privileged = [word for word in ("suid", "dev") if not given & {word, f"no{word}"}]
    grants = privileges.root and trusted
    wanted += [word if grants else f"no{word}" for word in privileged]
    if privileges.may_allow_others and not sharing:
        wanted.append("allow_other")
    return wanted


def _last_of_each_group(words: Iterable[str]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    for word in words:
        for meant in IMPLIED.get(word, (word,)):
            group = _group_of(meant)
            if group is not None:
                chosen[group] = meant
            elif meant not in WITHOUT_EFFECT and not meant.startswith(COMMENTS):
                raise UsageError(_why_refused(meant))
    return {key: chosen[key] for key in (*GROUPS, LOG_LEVEL) if key in chosen}


def _group_of(word: str) -> str | None:
    """The options that ``word`` excludes."""
    if word in [f"{LOG_LEVEL}={level}" for level in LOG_LEVELS]:
        return LOG_LEVEL
    return next((group for group, words in GROUPS.items() if word in words), None)


def _why_refused(word: str) -> str:
    name, equals, _ = word.partition("=")
    if name == LOG_LEVEL:
        return f"mount option {name!r} takes one of {', '.join(LOG_LEVELS)}"
    if name in REFUSED:
        return f"mount option {name!r} is not supported: {REFUSED[name]}"
    known = [word for words in GROUPS.values() for word in words]
    known += [*IMPLIED, *WITHOUT_EFFECT, LOG_LEVEL]
    if equals and name in known:
        return f"mount option {name!r} takes no value"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown mount option {name!r}{hint}"


def _is_for_kernel(word: str) -> bool:
    return _group_of(word) not in (None, LOG_LEVEL) and word not in NOT_FOR_KERNEL


def _in_order(words: set[str]) -> tuple[str, ...]:
    """``words`` in the order of ``GROUPS``, the rest after them by name."""
    ranks = {word: rank for rank, word in enumerate(w for ws in GROUPS.values() for w in ws)}
    return tuple(sorted(words, key=lambda word: (ranks.get(word, len(ranks)), word)))
