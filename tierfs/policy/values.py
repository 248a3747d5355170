"""Readers of values without a unit: words, counts, lists, paths, addresses, accounts."""

from __future__ import annotations

import grp
import ipaddress
import pwd
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from tierfs.policy.diagnostics import did_you_mean, quote
from tierfs.policy.schema import (
    QUOTE_IT,
    BadValue,
    Reader,
    pattern_schema,
    read_node,
    scalar_text,
    string_text,
)
from tierfs.policy.yaml import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping as MappingOf

    from tierfs.policy.diagnostics import Diagnostics
    from tierfs.policy.yaml import Document, Node

T = TypeVar("T")
Option = TypeVar("Option", bound=str)

AccountKind: TypeAlias = Literal["user", "group"]


# ------------------------------------------------------------------ words and counts


@dataclass(frozen=True, slots=True)
class FormatVersion:
    """The version of a file's format, of which this tierfs reads only one."""

    readable: int

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The version."""
        text = scalar_text(node)
        if text != str(self.readable):
            raise BadValue(f"must be {self.readable}, not {quote(text)}")
        return self.readable

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"enum": [self.readable, str(self.readable)]}

    def require_not_newer(self, document: Document, key: str) -> None:
        """End here when the file is of a newer format, whose other keys this version does not know.

        Raises:
            ConfigError: it is.
        """
        for entry in document.root.entries if isinstance(document.root, Mapping) else ():
            text = entry.value.text if isinstance(entry.value, Scalar) else ""
            is_number = re.fullmatch("[1-9][0-9]{0,8}", text)
            if entry.key == key and is_number and int(text) > self.readable:
                what = f"is version {text}, but this tierfs reads version {self.readable} only"
                hint = f"use a newer tierfs, one that reads version {text}"
                document.diagnostics.add(entry.value.position, f"the file {what}", hint)
                raise document.diagnostics.error()


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``; YAML 1.1's other words for them are read as text by some programs."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> bool:
        """Whether it is true."""
        text = scalar_text(node)
        known = isinstance(node, Scalar) and node.kind == "bool"
        if not known or text.lower() not in {"true", "false"}:
            raise BadValue(f"must be true or false, not {quote(text)}")
        return text.lower() == "true"

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number of 1 or more."""

    maximum: int

    def read(self, node: Node, _diagnostics: Diagnostics) -> int:
        """The number."""
        text = scalar_text(node)
        number = isinstance(node, Scalar) and node.kind == "int"
        if not number or not re.fullmatch("[1-9][0-9]{0,8}", text) or int(text) > self.maximum:
            raise BadValue(f"must be a whole number from 1 to {self.maximum}, not {quote(text)}")
        return int(text)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "integer", "minimum": 1, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Name:
    """Letters, digits, ``.``, ``_`` and ``-``."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> str:
        """The name."""
        text = string_text(node, "a name").strip()
        if not re.fullmatch(_NAME, text):
            hint = "use up to 64 letters, digits, dots, hyphens and underscores"
            raise BadValue(f"cannot be {quote(text)}", hint)
        return text

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return pattern_schema(_NAME)


_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True, slots=True)
class Choice(Generic[Option]):
    """One word out of a few."""

    options: tuple[Option, ...]

    def read(self, node: Node, _diagnostics: Diagnostics) -> Option:
        """The word."""
        text = scalar_text(node)
        for option in self.options:
            if option == text:
                return option
        meant = did_you_mean(text, self.options)
        hint = f'did you mean "{meant}"?' if meant else None
        raise BadValue(f"must be one of {', '.join(self.options)}, not {quote(text)}", hint)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"enum": list(self.options)}


@dataclass(frozen=True, slots=True)
class KeywordOr(Generic[T]):
    """One of a few words with a meaning each, or what another reader reads."""

    keywords: MappingOf[str, T] = field(hash=False)
    other: Reader[T]

    def read(self, node: Node, diagnostics: Diagnostics) -> T:
        """The meaning of the word, or of the other."""
        text = node.text if isinstance(node, Scalar) else None
        if text is not None and text in self.keywords:
            return self.keywords[text]
        try:
            return self.other.read(node, diagnostics)
        except BadValue as exc:
            meant = did_you_mean(text, self.keywords) if text else None
            also = " or ".join(f'"{known}"' for known in self.keywords)
            hint = f'did you mean "{meant}"?' if meant else exc.hint
            raise BadValue(exc.message, hint or f"or write {also}") from exc

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"anyOf": [{"enum": list(self.keywords)}, self.other.json_schema()]}


# ------------------------------------------------------------------ lists


@dataclass(frozen=True, slots=True)
class ListOf(Generic[T]):
    """A list of ``minimum`` items or more; ``label`` is how messages call one of them."""

    item: Reader[T]
    label: str
    minimum: int = 0

    def read(self, node: Node, diagnostics: Diagnostics) -> tuple[T, ...]:
        """The items; a mistake in one is noted with its own position."""
        if not isinstance(node, Sequence):
            raise BadValue("must be a list")
        if len(node.items) < self.minimum:
            raise BadValue("is an empty list", "put something into it, or remove the key")
        found = []
        for item in node.items:
            try:
                found.append(read_node(self.item, item, diagnostics))
            except BadValue as exc:
                hint = exc.hint or f"see {self.label} in the output of: tierfs policy schema"
                diagnostics.add(item.position, f"{self.label} {exc.message}", hint)
        return tuple(found)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "array", "items": self.item.json_schema(), "minItems": self.minimum}


@dataclass(frozen=True, slots=True)
class OneOrMore(Generic[T]):
    """A value, or a list of such values."""

    item: Reader[T]
    label: str

    def read(self, node: Node, diagnostics: Diagnostics) -> tuple[T, ...]:
        """The values."""
        if isinstance(node, Sequence):
            return ListOf(self.item, self.label, 1).read(node, diagnostics)
        return (self.item.read(node, diagnostics),)

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {
            "anyOf": [
                self.item.json_schema(),
                ListOf(self.item, self.label, 1).json_schema(),
            ]
        }


# ------------------------------------------------------------------ paths and addresses


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path on this machine; ``~`` and ``~user`` mean a home directory."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> Path:
        """The path as written, with its home directory put in."""
        text = string_text(node, "a path")
        if not text:
            raise BadValue("is an empty path")
        try:
            # Only then: Path drops the "./" that keeps "./~" from being a home directory.
            return Path(text).expanduser() if text.startswith("~") else Path(text)
        except RuntimeError as exc:
            message = f"names a home directory that is not known: {quote(text)}"
            raise BadValue(message, "write the path out") from exc

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for home directories."""
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``HOST:PORT``, ``IPV4:PORT`` or ``[IPV6]:PORT``."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> tuple[str, int]:
        """The host, without brackets, and the port."""
        if isinstance(node, Sequence):
            raise BadValue("must be HOST:PORT, not a list", 'write "[::1]:9469" in quotes')
        text = scalar_text(node)
        match = _ADDRESS.fullmatch(text)
        if match is None:
            hint = None
            if text.isdecimal() and text.isascii():
                hint = f'write "127.0.0.1:{text}"'
            elif text.count(":") > 1:
                hint = 'write an IPv6 address in brackets and the whole in quotes: "[::1]:9469"'
            raise BadValue(f"must be HOST:PORT, not {quote(text)}", hint)
        port = int(match["port"])
        if not 1 <= port <= _LAST_PORT:
            raise BadValue(f"must have a port from 1 to {_LAST_PORT}, not {port}")
        ipv6, host = match["ipv6"], match["host"] or ""
        try:
            if ipv6 is not None:
                return str(ipaddress.IPv6Address(ipv6)), port
            if _HOST_NAME.fullmatch(host) and len(host) <= _LONGEST_HOST_NAME:
                return host, port
            return str(ipaddress.IPv4Address(host)), port
        except ValueError as exc:
            raise BadValue(f"has no such host: {exc}") from exc

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for what a host may be."""
        return {"type": "string", "pattern": f"^(?:{_ADDRESS_SHAPE})$"}


_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_ADDRESS_SHAPE = r"(?:\[[^\]]*\]|[^:\[\]]*):[0-9]{1,5}"
"""The same without names of groups, which ECMA-262 writes in another way."""
# RFC 1123, section 2.1: letters, digits and hyphens; the last label is not a number.
_HOST_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
_LONGEST_HOST_NAME = 253
_LAST_PORT = 65535


# ------------------------------------------------------------------ users and groups


@dataclass(frozen=True, slots=True)
class GroupName:
    """The name of a group of users; whether there is one is for the machine that mounts to say."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> str:
        """The name."""
        text = scalar_text(node)
        if not re.fullmatch(_GROUP, text):
            raise BadValue(f"must be the name of a group, not {quote(text)}")
        return text

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "string", "pattern": f"^{_GROUP}$"}


# useradd(8), and names of directory services, as DOMAIN\\group or group@domain.
_GROUP = r"[A-Za-z0-9_.][A-Za-z0-9_.@\\ -]{0,254}"


@dataclass(frozen=True, slots=True)
class TagName:
    """The name of an extended attribute of the namespace ``user.``."""

    def read(self, node: Node, _diagnostics: Diagnostics) -> str:
        """The name, with its namespace."""
        text = string_text(node, "a name")
        if not re.fullmatch(_TAG, text):
            hint = f'write "user.{text}"' if "." not in text else 'such as "user.label"'
            raise BadValue(f"must be the name of an attribute user., not {quote(text)}", hint)
        return text

    def json_schema(self) -> dict[str, Any]:
        """As `read`."""
        return {"type": "string", "pattern": f"^(?:{_TAG})$"}


_TAG = r"user\.[^\x00]{1,240}"


@dataclass(frozen=True, slots=True)
class Account:
    """A user or group: its number, and how it was written."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class AccountReader:
    """A user or group by number, or by a name that this machine knows (nsswitch.conf(5))."""

    kind: AccountKind

    def read(self, node: Node, diagnostics: Diagnostics) -> Account:
        """The account; its number is looked up now, once."""
        text = scalar_text(node)
        if isinstance(node, Scalar) and node.kind not in {"str", "int"}:
            message = f"must name a {self.kind}, but YAML reads {quote(text)} as {node.kind}"
            raise BadValue(message, QUOTE_IT)
        if text.isascii() and text.isdigit():
            if len(text) > len(str(LAST_ID)) or int(text) > LAST_ID:
                what = f"must be a {self.kind}'s number up to {LAST_ID}, not {quote(text)}"
                raise BadValue(what)
            return Account(int(text), text)
        try:
            is_user = self.kind == "user"
            number = pwd.getpwnam(text).pw_uid if is_user else grp.getgrnam(text).gr_gid
        except (KeyError, ValueError, OSError) as exc:
            meant = None if diagnostics.too_many else did_you_mean(text, self._known())
            hint = f'did you mean "{meant}"?' if meant else "write the number instead of the name"
            raise BadValue(f"names no {self.kind} of this machine: {quote(text)}", hint) from exc
        return Account(number, text)

    def json_schema(self) -> dict[str, Any]:
        """As `read`, except for names that nobody has."""
        number = {"type": "integer", "minimum": 0, "maximum": LAST_ID}
        return {"anyOf": [number, {"type": "string", "minLength": 1}]}

    def _known(self) -> list[str]:
        if self.kind == "user":
            return [user.pw_name for user in pwd.getpwall()]
        return [group.gr_name for group in grp.getgrall()]


LAST_ID = 2**32 - 2
"""The largest number of a user or group: one more is (uid_t)-1, which is none (chown(2))."""


def account_name(kind: AccountKind, number: int) -> str:
    """The name and number of a user or group; the number alone when it has no name."""
    try:
        name = pwd.getpwuid(number).pw_name if kind == "user" else grp.getgrgid(number).gr_name
    except (KeyError, ValueError, OverflowError, OSError):
        return str(number)
    return f"{name} ({number})"
