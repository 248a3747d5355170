"""Look at the saved history of a failed run again: python -m tests.concurrency --help."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.concurrency.saved import load
from tests.concurrency.trial import Trial, check_history
from tests.support.fixtures import directory
from tests.support.mounting import Mount


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when nothing is wrong, 1 when the fault shows, 2 for a bad file."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.act(chosen))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"tests.concurrency: {error}\n")
        return 2


def check(chosen: argparse.Namespace) -> int:
    """Look for an order of the calls that explains a history."""
    _plan, history = load(chosen.history)
    try:
        models = check_history(history)
    except AssertionError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(history)} calls are explained; {len(models)} states are possible\n")
    return 0


def replay(chosen: argparse.Namespace) -> int:
    """Do the calls again, in the order of beginnings and ends, until something is wrong."""
    plan, history = load(chosen.history)
    with _place(chosen.under, plan.head) as place:
        for attempt in range(chosen.attempts):
            root = Path(tempfile.mkdtemp(prefix=f"attempt-{attempt}-", dir=place))
            trial = Trial(plan, root)
            trial.again(history, attempt)
            try:
                trial.check()
            except AssertionError as error:
                sys.stdout.write(f"attempt {attempt + 1} of {chosen.attempts}: {error}\n")
                return 1
    sys.stdout.write(f"{chosen.attempts} attempts, and nothing was wrong\n")
    return 0


@contextlib.contextmanager
def _place(under: Path | None, head: int) -> Iterator[Path]:
    """The directory that was named, or a mount of a new volume."""
    if under:
        yield under
        return
    with (
        tempfile.TemporaryDirectory() as fallback,
        directory(Path(fallback)) as home,
        contextlib.closing(Mount(home / "volume", head=head)) as mount,
    ):
        mount.mount()
        yield mount.path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    for act in (check, replay):
        verb = verbs.add_parser(act.__name__, help=act.__doc__)
        verb.add_argument("history", type=Path, help="the file that a failed run named")
        verb.set_defaults(act=act)
        if act is replay:
            verb.add_argument("--attempts", type=int, default=20, help="how often, at most")
            verb.add_argument(
                "--under", type=Path, help="a directory to do it in, instead of a new mount"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
