"""The functions that a router calls, in a test's hands: a call waits until the test answers it."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

from tierfs.fs.locks import WouldBlock

PATIENCE_S: Final = 30


class Call:
    """One call of a function."""

    def __init__(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.name = name
        self.arguments = arguments
        self.keywords = keywords
        self.thread = threading.get_native_id()
        self._answered = threading.Event()
        self._value: object = None

    def answer(self, value: object = None) -> None:
        """Let the function return a value, or raise it if it is an exception."""
        self._value = value
        self._answered.set()

    def wait(self) -> object:
        """What the test answers."""
        assert self._answered.wait(PATIENCE_S)
        if isinstance(self._value, BaseException):
            raise self._value
        return self._value


class Functions:
    """An object for ``Router.set_upcalls`` with functions of these names."""

    def __init__(self, *names: str) -> None:
        self._calls: queue.Queue[Call] = queue.Queue()
        self._under_way: list[Call] = []
        self._closed = False
        self.failures: list[tuple[str, BaseException]] = []
        for name in names:
            setattr(self, name, functools.partial(self._call, name))

    def failed(
        self, operation: str, exc: BaseException, _seconds: float
    ) -> int | Callable[[], object] | None:
        """See ``Router.set_upcalls``; a function may be an argument of ``WouldBlock``."""
        if isinstance(exc, WouldBlock):
            return next(iter(exc.args), None)
        self.failures.append((operation, exc))
        return exc.errno if isinstance(exc, OSError) else 5

    def next(self) -> Call:
        """The next call, which is under way until it is answered."""
        return self._calls.get(timeout=PATIENCE_S)

    def are_idle(self, seconds: float = 0.05) -> bool:
        """Whether no call is made for so long."""
        try:
            self._under_way.append(self._calls.get(timeout=seconds))
        except queue.Empty:
            return True
        return False

    def close(self) -> None:
        """Let every call that is or will be under way fail."""
        self._closed = True
        while not self._calls.empty():
            self._calls.get().answer(OSError(5, "the test is over"))
        for call in self._under_way:
            call.answer(OSError(5, "the test is over"))

    def _call(self, name: str, *arguments: object, **keywords: object) -> object:
        call = Call(name, arguments, keywords)
        if self._closed:
            raise OSError(5, "the test is over")
        self._calls.put(call)
        return call.wait()
