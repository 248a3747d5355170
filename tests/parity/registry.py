"""The cases: each module of cases registers its functions here when it is imported."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

CaseFunction = Callable[..., object]
F = TypeVar("F", bound=CaseFunction)


@dataclass(frozen=True, slots=True)
class Case:
    """One function with one set of parameters."""

    name: str
    function: CaseFunction
    parameters: Mapping[str, object] = field(default_factory=dict)
    read_only: bool = False

    @property
    def base(self) -> str:
        """The name without the parameters."""
        return self.name.partition("[")[0]


CASES: dict[str, Case] = {}
"""Every case by its name: module.function, and [parameter=value-...] if it has any."""


class Register:
    """The decorator `case`; as `case.read_only`, its cases run on read-only filesystems."""

    def __init__(self, *, on_read_only: bool = False) -> None:
        self._read_only = on_read_only

    @property
    def read_only(self) -> Register:
        """Registers cases that get the prepared tree of a filesystem mounted read-only."""
        return Register(on_read_only=True)

    def __call__(self, function: F) -> F:
        """Register a function that takes a place, and nothing else."""
        return self.each()(function)

    def each(self, **choices: object) -> Callable[[F], F]:
        """Register one case for each combination of the parameters' values."""
        lists = [_listed(values) for values in choices.values()]
        sets = [dict(zip(choices, chosen, strict=True)) for chosen in itertools.product(*lists)]

        def register(function: F) -> F:
            for parameters in sets:
                _add(Case(_name(function, parameters), function, parameters, self._read_only))
            return function

        return register


case = Register()


def load() -> list[Case]:
    """Import every module of cases beside this one; returns all cases, sorted by name."""
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        importlib.import_module(f"{__package__}.{path.stem}")
    return [CASES[name] for name in sorted(CASES)]


def _add(new: Case) -> None:
    if new.name in CASES:
        message = f"two cases have the name {new.name}"
        raise ValueError(message)
    CASES[new.name] = new


def _listed(values: object) -> list[object]:
    if isinstance(values, list | tuple | range | dict):
        return list(values)
    message = f"the values of a parameter are a list: {values!r}"
    raise TypeError(message)


def _name(function: CaseFunction, parameters: Mapping[str, object]) -> str:
    base = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    shown = [f"{key}={_shown(key, value)}" for key, value in parameters.items()]
    return f"{base}[{'-'.join(shown)}]" if shown else base


def _shown(key: str, value: object) -> str:
    """Short and printable: it becomes part of a test's name."""
    if isinstance(value, int) and not isinstance(value, bool) and key.endswith("mode"):
        return oct(value)
    text = getattr(value, "__name__", None) or (value if isinstance(value, str) else repr(value))
    return str(text).encode("ascii", "backslashreplace").decode().replace(" ", "")[:60]
