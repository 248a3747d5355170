"""Keeping a mount's policy: what has it read again, in threads."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

import trio

from tierfs.common.units import SECOND
from tierfs.daemon.policy_in_force import PolicyInForce, State

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
LINES_SHOWN: Final = 10
"""Of what is wrong with a policy a status has so many lines; the log has all."""


async def look_at_policy(policy: PolicyInForce) -> None:
    """Have the policy follow its file. A filesystem that hangs holds up no end."""
    await trio.to_thread.run_sync(policy.look, abandon_on_cancel=True)


async def reload_policy(policy: PolicyInForce | None) -> None:
    """Have the policy read again, as SIGHUP asks for."""
    if policy is None:
        log.info("there is no tier policy to read: the volume file names none")
        return
    await trio.to_thread.run_sync(partial(policy.reload, "SIGHUP"), abandon_on_cancel=True)


def apply_policy(policy: PolicyInForce | None) -> dict[str, Any]:
    """What ``tierfs policy apply`` is answered, when the policy is in force."""
    if policy is None:
        return {"policy": None}
    result, state = policy.reload("apply")
    lines = state.problems.lines if state.problems else ()
    return {"result": result, "problems": list(lines), "policy": policy_status(policy, state)}


def policy_status(policy: PolicyInForce, state: State | None = None) -> dict[str, Any]:
    """A record for JSON; times in seconds since the epoch."""
    in_force, problems = state or policy.state
    return {
        "path": str(policy.path),
        "since": in_force.since / SECOND,
        "by": in_force.by,
        "rules": len(in_force.policy.rules),
        "problems": None
        if problems is None
        else {
            "since": problems.since / SECOND,
            "count": len(problems.lines),
            "lines": list(problems.lines[:LINES_SHOWN]),
        },
    }
