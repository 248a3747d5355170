"""Users and groups by name or number, as nsswitch.conf(5) finds them."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tierfs.policy.document import Scalar
from tierfs.policy.fields import BadValue
from tierfs.policy.problems import did_you_mean, quote
from tierfs.policy.readers import one_text

if TYPE_CHECKING:
    from tierfs.policy.document import Value
    from tierfs.policy.problems import Problems

AccountKind: TypeAlias = Literal["user", "group"]

LAST_ID = 2**32 - 2
"""The largest number of a user or group: one more is (uid_t)-1, which is none (chown(2))."""

_LONGEST_NUMBER = 10


@dataclass(frozen=True, slots=True)
class Account:
    """A user or group: its number, and how it was written."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class AccountReader:
    """A name that this machine knows, or a number."""

    kind: AccountKind

    def read(self, value: Value, problems: Problems) -> Account:
        """The account; its number is looked up now, once."""
        text = one_text(value)
        if isinstance(value, Scalar) and value.kind not in {"str", "int"}:
            what = f"must name a {self.kind}, but YAML reads {quote(text)} as {value.kind}"
            raise BadValue(what, "put the value in quotes")
        if text.isascii() and text.isdigit():
            return Account(self._number(text), text)
        return Account(self._look_up(text, problems), text)

    def schema(self) -> dict[str, Any]:
        """As `read`, but for names that nobody has."""
        number = {"type": "integer", "minimum": 0, "maximum": LAST_ID}
        return {"anyOf": [number, {"type": "string", "minLength": 1}]}

    def _number(self, text: str) -> int:
        if len(text) > _LONGEST_NUMBER or int(text) > LAST_ID:
            raise BadValue(f"must be a {self.kind}'s number up to {LAST_ID}, not {quote(text)}")
        return int(text)

    def _look_up(self, name: str, problems: Problems) -> int:
        try:
            return _number_of(self.kind, name)
        except (KeyError, ValueError, OSError) as exc:
            meant = None if problems.too_many else did_you_mean(name, _names(self.kind))
            hint = f'did you mean "{meant}"?' if meant else "write the number instead of the name"
            raise BadValue(f"names no {self.kind} of this machine: {quote(name)}", hint) from exc


def account_name(kind: AccountKind, number: int) -> str:
    """The name and number of a user or group; the number alone when it has no name."""
    try:
        name = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except (KeyError, ValueError, OverflowError, OSError):
        return str(number)
    return f"{name} ({number})"


def _number_of(kind: AccountKind, name: str) -> int:
    return pwd.getpwnam(name).pw_uid if kind == "user" else grp.getgrnam(name).gr_gid


def _names(kind: AccountKind) -> list[str]:
    if kind == "user":
        return [user.pw_name for user in pwd.getpwall()]
    return [group.gr_name for group in grp.getgrall()]
