"""Server-sent events: bytes in, the data of each event out. No HTTP, no JSON.

After https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.6). Lines end in LF, CR
LF or CR and in nothing else: a U+2028 inside a JSON text must not end one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LIMIT = 16 * 1024 * 1024  # bytes of one event: beyond, the other side is not speaking SSE


def events(chunks: Iterable[bytes]) -> Iterator[str]:
    """The ``data`` of each event; comments and other fields are left out.

    An event that the end of the stream cuts off is handed out too where its last line is whole or
    not: who reads it knows whether it makes sense. Raises ValueError where bytes are not UTF-8 or
    an event does not end.
    """
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield "\n".join(data)
                data = []
            continue
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
    if data:
        yield "\n".join(data)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    after_cr = False  # a line was ended by CR at the end of a chunk: an LF that follows belongs to it
    first = True
    for chunk in chunks:
        if after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            after_cr = False
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        parts = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = parts.pop()
        if len(rest) > LIMIT:
            raise ValueError(f"an event is longer than {LIMIT} bytes")
        for part in parts:
            line = part.decode("utf-8")
            yield line.removeprefix("\ufeff") if first else line
            first = False
    if rest:
        yield rest.decode("utf-8")
