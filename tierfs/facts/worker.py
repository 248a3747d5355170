"""The program of a worker process: reads facts out of files that it is given as bytes.

Its one argument is the descriptor of a socket (SOCK_SEQPACKET) to the daemon. It loads the
extractors, gives up what it must not have (`confinement`), and says which extractors it has. Then
it gets a message and a memfd with the first bytes for each file, asks for further ranges, each of
which comes as a memfd, and answers with the facts. All messages are JSON.

* worker: ``{"extractors": [[name, version]], "missing": {name: why}, "refused": [what]}``, or
  ``{"failed": why}``
* daemon: ``{"size": bytes}`` and a memfd
* worker: ``{"offset": bytes, "length": bytes}``; the daemon: ``{}`` and a memfd, or ``{"refused":
  why}``
* worker: ``{"extractor": [name, version] | null, "facts": {...}}``, or with ``"error": why``
"""

from __future__ import annotations

import codecs
import json
import os
import socket
import sys
from typing import Any, Final

from tierfs.common.priority import die_with_parent, lower_priority
from tierfs.facts.confinement import NotConfined, confine
from tierfs.facts.extractor import Extractor, Installed, NotReadable, checked, load_installed
from tierfs.facts.source import OutOfBytes, Source

MESSAGE: Final = 192 * 1024
"""Bytes of the longest message."""
LONGEST_ERROR: Final = 200
"""Characters."""
ENCODINGS: Final = (
    "latin-1",
    "ascii",
    "cp1252",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-7",
    "cp437",
)
"""To be loaded before no file can be opened any more."""


class Worker:
    """One end of the socket."""

    def __init__(self, connection: socket.socket, installed: Installed) -> None:
        self._connection = connection
        self._installed = installed

    def run(self, refused: list[str]) -> None:
        """Say what there is, and serve until the daemon closes its end."""
        self._send(
            extractors=[[each.name, each.version] for each in self._installed.extractors],
            missing=self._installed.missing,
            refused=refused,
        )
        while (received := self._receive()) is not None:
            request, head = received
            self._send(**self._answer(int(request["size"]), head))

    def _answer(self, size: int, head: bytes) -> dict[str, Any]:
        extractor = extractor_for(head, self._installed.extractors)
        if extractor is None:
            return {"extractor": None, "facts": {}}
        identity = [extractor.name, extractor.version]
        try:
            facts = checked(extractor.extract(Source(size, head, self._ask)))
        except Exception as error:  # noqa: BLE001 - a hostile header may raise anything
            return {"extractor": identity, "facts": {}, "error": described(error)}
        return {"extractor": identity, "facts": facts}

    def _ask(self, offset: int, length: int) -> bytes:
        self._send(offset=offset, length=length)
        received = self._receive()
        if received is None:
            sys.exit(0)
        answer, data = received
        if "refused" in answer:
            raise OutOfBytes(str(answer["refused"]))
        return data

    def _receive(self) -> tuple[dict[str, Any], bytes] | None:
        """A message and the bytes that came with it; None: the daemon has closed its end."""
        text, descriptors, _, _ = socket.recv_fds(self._connection, MESSAGE, 1)
        if not text:
            return None
        parts = []
        for descriptor in descriptors:
            with os.fdopen(descriptor, "rb") as stream:
                stream.seek(0)
                parts.append(stream.read())
        return json.loads(text), b"".join(parts)

    def _send(self, **message: Any) -> None:  # noqa: ANN401 - JSON
        self._connection.sendall(json.dumps(message).encode())


def described(error: BaseException) -> str:
    """Why a header could not be read, for people."""
    said = error.strerror if isinstance(error, OutOfBytes) else error
    text = " ".join(str(said).split())
    if not isinstance(error, NotReadable | OutOfBytes) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    printable = "".join(each if each.isprintable() else "?" for each in text)
    return printable[:LONGEST_ERROR]


def extractor_for(head: bytes, extractors: list[Extractor]) -> Extractor | None:
    """The first extractor that takes a file with these first bytes for one of its own."""
    return next((one for one in extractors if one.recognises(head)), None)


def main() -> None:
    """The worker process."""
    lower_priority()
    connection = socket.socket(fileno=int(sys.argv[1]))
    installed = load_installed()
    for encoding in ENCODINGS:
        codecs.lookup(encoding)
    try:
        refused = confine()
    except NotConfined as error:
        connection.sendall(json.dumps({"failed": str(error)}).encode())
        return
    die_with_parent()  # a change of user takes that back
    Worker(connection, installed).run(refused)


if __name__ == "__main__":
    main()
