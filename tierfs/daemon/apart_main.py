"""The other process of `tierfs.daemon.apart`: a task comes in, what came of it goes out."""

from __future__ import annotations

import os
import pickle
import sys

from tierfs.common.priority import die_with_parent, give_way


def main() -> None:
    """Do the task. Modules that it needs are loaded when the priority is low already."""
    die_with_parent()
    give_way(idle=False)
    # Only the reply may go there, whatever a library prints.
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    idle, function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own daemon
    give_way(idle=idle)
    try:
        end = True, function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again by the daemon
        end = False, error
    with reply:
        pickle.dump(end, reply)


if __name__ == "__main__":
    main()
