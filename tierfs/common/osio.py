"""The seam through which tierfs calls the operating system.

Every call on a backing directory carries a label such as ``flash.pwrite``. In production the
label is ignored; a test puts a subclass in place that fails, delays or kills at exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Os:
    """Calls the operating system; ``call`` is the seam."""

    def call(
        self,
        label: str,  # noqa: ARG002 - for subclasses
        function: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return ``function(*args)``; ``label`` names the step, as ``TIER.CALL``.

        Raises:
            OSError: what the call raises.
        """
        return function(*args, **kwargs)

    def bound(self, label: str, function: Callable[P, T]) -> Callable[P, T]:
        """``call`` of what is called often: without a subclass, ``function`` itself."""
        return function if type(self).call is Os.call else partial(self.call, label, function)


SYSTEM = Os()
