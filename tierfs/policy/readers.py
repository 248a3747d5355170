"""Readers of single values: numbers, sizes, names out of a list, paths, addresses to listen on."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tierfs.base.units import UNITS, format_size, parse_size
from tierfs.policy.document import Listing, Scalar
from tierfs.policy.fields import BadValue
from tierfs.policy.problems import did_you_mean, quote

if TYPE_CHECKING:
    from tierfs.policy.document import Entry, Value
    from tierfs.policy.problems import Problems

Word = TypeVar("Word", bound=str)

SIZE_PATTERN = rf"[0-9]{{1,20}}(?:\.[0-9]{{1,20}})?\s{{0,8}}(?:{'|'.join(UNITS)})?"
"""What `parse_size` reads, as a regular expression of JSON Schema (ECMA-262) and of Python."""

_QUOTE_IT = "put the value in quotes"
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
# RFC 1123, section 2.1: letters, digits and hyphens; the last label is not a number.
_HOST_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
# useradd(8), and names of directory services, as DOMAIN\\group or group@domain.
_GROUP = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\ -]{0,254}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LONGEST_HOST_NAME = 253
_LAST_PORT = 65535


def one_text(value: Value) -> str:
    """The text of a value that must be a single one.

    Raises:
        BadValue: it is a list or a mapping.
    """
    if isinstance(value, Scalar):
        return value.text
    kind = "a list" if isinstance(value, Listing) else "a mapping"
    raise BadValue(f"must be a single value, not {kind}")


@dataclass(frozen=True, slots=True)
class FormatVersion:
    """The version of a file's format, of which this tierfs reads only one."""

    readable: int

    def read(self, value: Value, _problems: Problems) -> int:
        """The version."""
        text = one_text(value)
        if text != str(self.readable):
            raise BadValue(f"must be {self.readable}, not {quote(text)}")
        return self.readable

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts."""
        return {"enum": [self.readable, str(self.readable)]}

    def require_not_newer(self, entry: Entry, problems: Problems) -> None:
        """End here when the file is of a newer format, whose other keys mean nothing to us.

        Raises:
            ConfigError: it is.
        """
        text = entry.value.text if isinstance(entry.value, Scalar) else ""
        if not _NUMBER.fullmatch(text) or int(text) <= self.readable:
            return
        what = f"is version {text}, but this tierfs reads version {self.readable} only"
        hint = f"use a newer tierfs, one that reads version {text}"
        problems.add(entry.value.place, f"the file {what}", hint)
        raise problems.error()


@dataclass(frozen=True, slots=True)
class Size:
    """A size in bytes, between two limits and a whole number of steps."""

    minimum: int
    maximum: int
    step: int

    def read(self, value: Value, _problems: Problems) -> int:
        """The size in bytes."""
        text = one_text(value)
        try:
            size = parse_size(text)
        except ValueError as exc:
            what, _, hint = str(exc).partition("; ")
            raise BadValue(f"is wrong: {what}", hint) from exc
        if not self.minimum <= size <= self.maximum:
            limits = f"{format_size(self.minimum)} to {format_size(self.maximum)}"
            raise BadValue(f"must be {limits}, not {quote(text)}")
        if size % self.step:
            raise BadValue(f"must be a multiple of {format_size(self.step)}, not {quote(text)}")
        return size

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts; of a text, without the limits."""
        number = {"minimum": self.minimum, "maximum": self.maximum, "multipleOf": self.step}
        text = {"type": "string", "pattern": rf"^\s*(?:{SIZE_PATTERN})\s*$"}
        return {"anyOf": [{"type": "integer", **number}, text]}


@dataclass(frozen=True, slots=True)
class Choice(Generic[Word]):
    """One word out of a few."""

    words: tuple[Word, ...]

    def read(self, value: Value, _problems: Problems) -> Word:
        """The word."""
        text = one_text(value)
        for word in self.words:
            if word == text:
                return word
        meant = did_you_mean(text, self.words)
        hint = f'did you mean "{meant}"?' if meant else None
        raise BadValue(f"must be one of {', '.join(self.words)}, not {quote(text)}", hint)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts."""
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path on this machine; ``~`` and ``~user`` mean a home directory."""

    def read(self, value: Value, _problems: Problems) -> Path:
        """The path as written, with its home directory put in."""
        text = one_text(value)
        if not text:
            raise BadValue("is an empty path")
        if isinstance(value, Scalar) and value.kind != "str":
            raise BadValue(
                f"must be a path, but YAML reads {quote(text)} as {value.kind}", _QUOTE_IT
            )
        try:
            # Only then: Path drops the "./" that keeps "./~" from being a home directory.
            return Path(text).expanduser() if text.startswith("~") else Path(text)
        except RuntimeError as exc:
            hint = "write the path out"
            raise BadValue(
                f"names a home directory that is not known: {quote(text)}", hint
            ) from exc


@dataclass(frozen=True, slots=True)
class GroupName:
    """The name of a group of users; whether there is one is for the machine that mounts to say."""

    def read(self, value: Value, _problems: Problems) -> str:
        """The name."""
        text = one_text(value)
        if not _GROUP.fullmatch(text):
            raise BadValue(f"must be the name of a group, not {quote(text)}")
        return text

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of what `read` accepts."""
        return {"type": "string", "pattern": f"^{_GROUP.pattern}$"}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """``HOST:PORT``, ``IPV4:PORT`` or ``[IPV6]:PORT``."""

    def read(self, value: Value, _problems: Problems) -> tuple[str, int]:
        """The host, without brackets, and the port."""
        if isinstance(value, Listing):
            raise BadValue("must be HOST:PORT, not a list", 'write "[::1]:9469" in quotes')
        text = one_text(value)
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise BadValue(f"must be HOST:PORT, not {quote(text)}", _address_hint(text))
        port = int(match["port"])
        if not 1 <= port <= _LAST_PORT:
            raise BadValue(f"must have a port from 1 to {_LAST_PORT}, not {port}")
        return _host(match["ipv6"], match["host"]), port


def _host(ipv6: str | None, host: str | None) -> str:
    try:
        if ipv6 is not None:
            return str(ipaddress.IPv6Address(ipv6))
        return _ipv4_or_name(host or "")
    except ValueError as exc:
        raise BadValue(f"has no such host: {exc}") from exc


def _ipv4_or_name(host: str) -> str:
    """``host`` itself, when it is a host name or an IPv4 address in four numbers.

    Raises:
        ValueError: it is neither.
    """
    if _HOST_NAME.fullmatch(host) and len(host) <= _LONGEST_HOST_NAME:
        return host
    return str(ipaddress.IPv4Address(host))


def _address_hint(text: str) -> str | None:
    if text.isdecimal() and text.isascii():
        return f'write "127.0.0.1:{text}"'
    if text.count(":") > 1:
        return 'write an IPv6 address in brackets and the whole in quotes: "[::1]:9469"'
    return None
