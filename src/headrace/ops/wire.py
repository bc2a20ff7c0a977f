"""The words between the server and its worker processes: frames, and nouns as JSON and back.

A frame is two lengths (4 bytes each, big endian), a JSON header of the first length and bytes of
the second: what is only passed on, such as an answer, need not be parsed on the way. Both ends are
the same version on the same machine, so nothing here is versioned. Not here: sockets.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from headrace import errors
from headrace.errors import HeadraceError, Overloaded
from headrace.types import Answer, Citation, Document, Finding, Section, Usage, to_json

Frame = tuple[dict[str, Any], bytes]

_LENGTHS = struct.Struct("!II")
LONGEST = 1 << 30  # bytes; a length beyond it is no frame of ours


def frame(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """One frame as bytes."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body


def dump(value: Any) -> bytes:
    """A noun or plain data as JSON in UTF-8; escaped where it holds what UTF-8 cannot."""
    data = to_json(value)
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(data, separators=(",", ":")).encode()


class Unframer:
    """Bytes as they arrive → frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(buffer)
            assert head <= LONGEST, head
            middle = _LENGTHS.size + head
            if len(buffer) < middle + body:
                return
            found = json.loads(bytes(buffer[_LENGTHS.size : middle])), bytes(buffer[middle : middle + body])
            del buffer[: middle + body]
            yield found


def frames(source: socket.socket) -> Iterator[Frame]:
    """Frames from a blocking socket, until its other end is closed."""
    unframer = Unframer()
    while data := _some(source):
        yield from unframer.feed(data)


def _some(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 18)
    except ConnectionError:  # the other end was killed: the same as closed
        return b""


# --------------------------------------------------------------------------- errors


class ApplicationFailed(Exception):
    """An error of the application itself, from another process. ``name`` is its class's."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
        self.text = text


def error_to_json(error: BaseException) -> dict[str, Any]:
    """An error, so that it can be raised elsewhere."""
    if isinstance(error, HeadraceError):
        made: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        if isinstance(error, Overloaded):
            made["retry_after"] = error.retry_after
        return made
    return {"name": type(error).__name__, "text": str(error)}


def error_of(value: Mapping[str, Any]) -> Exception:
    """The error that :func:`error_to_json` described."""
    if "name" in value:
        return ApplicationFailed(value["name"], value["text"])
    kind = _KINDS.get(value["code"], HeadraceError)
    if issubclass(kind, Overloaded):
        return kind(value["message"], hint=value["hint"], retry_after=value.get("retry_after", 1.0))
    return kind(value["message"], hint=value["hint"])


# By code, as HeadraceError.code makes it.
_KINDS: dict[str, type[HeadraceError]] = {
    kind("").code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HeadraceError)
}


# --------------------------------------------------------------------------- nouns


def answer_of(value: Mapping[str, Any]) -> Answer:
    """An Answer from its JSON."""
    fields = dict(value)
    fields["citations"] = tuple(Citation(**item) for item in fields["citations"])
    fields["findings"] = tuple(Finding(**item) for item in fields["findings"])
    fields["dropped"] = tuple(fields["dropped"])
    fields["usage"] = Usage(**fields["usage"])
    return Answer(**fields)


def document_of(value: Mapping[str, Any]) -> Document:
    """A Document from its JSON."""
    fields = dict(value)
    fields["sections"] = tuple(Section(**item) for item in fields["sections"])
    return Document(**fields)
