"""Questions that may hang, asked in threads of their own; the last answer is kept with its age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Known(NamedTuple, Generic[T]):
    """What is known of an answer; seconds."""

    value: T | None
    """The last answer; None: there was none yet."""
    age: float | None
    """Of ``value``."""
    waiting: float | None
    """How long the question now asked has had no answer; None: it has."""
    error: str | None
    """Why the last question failed; None: it was answered, or is not yet."""

    @property
    def fresh(self) -> bool:
        """Whether ``value`` is what was asked for just now."""
        return self.waiting is None and self.error is None


class Probe(Generic[T]):
    """One question. However often it is asked, one thread at most waits for the answer."""

    def __init__(self, question: Callable[[], T]) -> None:
        """``question`` may raise, or never return."""
        self._question = question
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._done.set()
        self._asked_at = 0.0
        self._value: T | None = None
        self._answered_at: float | None = None
        self._error: str | None = None

    def begin(self) -> None:
        """Ask, unless the last question still waits for its answer."""
        with self._lock:
            if not self._done.is_set():
                return
            self._done.clear()
            self._asked_at = time.monotonic()
        try:
            threading.Thread(target=self._ask, name="tierfs-probe", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had
            self._error = str(error)
            self._done.set()

    def known(self, deadline: float) -> Known[T]:
        """What is known when the question is answered, or at ``deadline`` (time.monotonic)."""
        answered = self._done.wait(max(0.0, deadline - time.monotonic()))
        with self._lock:
            now = time.monotonic()
            return Known(
                self._value,
                None if self._answered_at is None else now - self._answered_at,
                None if answered else now - self._asked_at,
                self._error if answered else None,
            )

    def ask(self, seconds: float) -> Known[T]:
        """``begin``, and what is known ``seconds`` later at the latest."""
        self.begin()
        return self.known(time.monotonic() + seconds)

    def _ask(self) -> None:
        value, error = None, None
        try:
            value = self._question()
        except Exception as exc:  # noqa: BLE001 - whoever asked is told
            error = str(exc) or type(exc).__name__
        with self._lock:
            if error is None:
                self._value, self._answered_at = value, time.monotonic()
            self._error = error
            self._done.set()


def settle(probes: Iterable[Probe[object]], seconds: float) -> None:
    """Wait until no question is under way any more, or ``seconds`` have passed."""
    deadline = time.monotonic() + seconds
    for probe in probes:
        probe.known(deadline)
