"""The files that an access log has named, as rows of an index, and where a policy wants them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Final

from tierfs.common.units import SECOND
from tierfs.metadata.inodes import ROOT, Inode
from tierfs.policy.match import Facts, conditions_of
from tierfs.policy.model import Decider, Decision, Policy
from tierfs.tiering.access_log import FileFacts, Use
from tierfs.tiering.heat import Heat
from tierfs.tiering.model import Target
from tierfs.tiering.target import reads_within, target_of

VALID: Final = 60 * SECOND
"""Nanoseconds after which a decision that depends on time is made again; also when it is read."""

ALWAYS: Final = 2**63
NEVER: Final = -ALWAYS


class LoggedFiles:
    """Rows by inode number. A file of which the log tells no facts has what holds by default."""

    def __init__(self, policy: Policy, heat: Heat) -> None:
        self.depend_on_time = depends_on_time(policy)
        self._decider = Decider(policy)
        self._heat = heat
        self._rows: dict[int, Inode] = {}
        self._facts: dict[int, FileFacts] = {}
        self._decisions: dict[int, tuple[Decision, int]] = {}
        self._targets: dict[str | None, Target] = {}
        self._defaults = Decision(None, policy.defaults)

    def __len__(self) -> int:
        return len(self._rows)

    def all(self) -> Iterator[Inode]:
        """Every row."""
        return iter(list(self._rows.values()))

    def find(self, ino: int) -> Inode | None:
        """The row, or None."""
        return self._rows.get(ino)

    def get(self, ino: int) -> Inode:
        """The row of a file that was named."""
        return self._rows[ino]

    def keep(self, inode: Inode) -> None:
        """A row has changed."""
        self._rows[inode.ino] = inode

    def forget(self, ino: int) -> None:
        """A file is gone."""
        for known in (self._rows, self._facts, self._decisions):
            known.pop(ino, None)

    def seen(self, use: Use) -> Inode:
        """The row of a file that was used. Of one without facts its size is guessed by its uses."""
        inode = self._rows.get(use.ino)
        if inode is not None and use.ino in self._facts:
            return inode
        size = max(inode.size if inode else 0, use.size // use.reads)
        if inode is None or inode.size != size:
            row = inode or _row(FileFacts(use.ino, size, use.time, 0, 0))
            inode = self._rows[use.ino] = row._replace(size=size)
        return inode

    def told(self, facts: FileFacts) -> Inode:
        """The row of a file with the facts that the log tells now; ``prefix`` is as it was."""
        before = self._rows.get(facts.ino)
        inode = _row(facts)
        if before is not None:
            inode = inode._replace(prefix=before.prefix, mirrored=before.mirrored)
        self._facts[facts.ino] = facts
        self._decisions.pop(facts.ino, None)
        self._rows[facts.ino] = inode
        return inode

    def written(self, use: Use, now: int) -> Inode:
        """The row of a file whose bytes were changed."""
        inode = self._rows[use.ino]._replace(size=use.size, mtime=now, ctime=now, mirrored=0)
        self._rows[use.ino] = inode
        self._decisions.pop(use.ino, None)
        return inode

    def was_read(self, ino: int) -> None:
        """A file was read: what its rule is may have changed."""
        if self.depend_on_time:
            self._decisions.pop(ino, None)

    def target(self, inode: Inode, now: int) -> Target:
        """Where the policy wants a file."""
        decision = self._decision(inode, now)
        if decision.settings.promote is not None:
            return target_of(
                decision, lambda within: reads_within(self._heat, inode.ino, within, now)
            )
        target = self._targets.get(decision.rule)
        if target is None:
            target = self._targets[decision.rule] = target_of(decision, lambda _within: None)
        return target

    def _decision(self, inode: Inode, now: int) -> Decision:
        decision, until = self._decisions.get(inode.ino, (self._defaults, NEVER))
        if now >= until:
            facts = self._facts.get(inode.ino)
            if facts is not None:
                asked = Facts(
                    now=now,
                    row=inode,
                    last_read=self._heat.last_read(inode.ino, inode.ctime, now),
                    find_paths=lambda: facts.paths,
                    find_xattr=lambda name: dict(facts.xattrs).get(name),
                    count_reads=lambda within: reads_within(self._heat, inode.ino, within, now),
                )
                decision = self._decider.decide(asked)
            until = now + VALID if self.depend_on_time else ALWAYS
            self._decisions[inode.ino] = decision, until
        return decision


def _row(facts: FileFacts) -> Inode:
    """Nothing is on flash; what comes there is taken to be on disk as well."""
    return Inode(
        ino=facts.ino,
        mode=stat.S_IFREG,
        uid=facts.uid,
        gid=facts.gid,
        nlink=1,
        size=facts.size,
        rdev=0,
        atime=0,
        mtime=facts.modified,
        ctime=facts.modified,
        prefix=0,
        version=0,
        parent=ROOT,
        target=None,
        sparse=0,
        mirrored=1,
    )


def depends_on_time(policy: Policy) -> bool:
    """Whether another rule may hold for a file without a change of the file."""
    return any(one.changes_with_time for rule in policy.rules for one in conditions_of(rule.match))
