"""A model hub on loopback: plays /api/models over real sockets and keeps what was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class HubServer:
    """Use as a context manager; ``asked`` holds the query of each search."""

    def __init__(self, rows: Any = (), status: int = 200) -> None:
        self.rows, self.status = rows, status
        self.asked: list[dict[str, list[str]]] = []

    def __enter__(self) -> HubServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                outer.asked.append(parse_qs(parts.query))
                found = outer.rows if parts.path == "/api/models" else {"error": "Not found"}
                body = json.dumps(found if outer.status == 200 else {"error": "busy"}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def row(id: str, **more: Any) -> dict[str, Any]:
    """One model as a hub lists it."""
    return {
        "id": id,
        "downloads": 1000,
        "likes": 10,
        "tags": ["safetensors", "en", "license:mit"],
        "pipeline_tag": "text-generation",
        "lastModified": "2026-06-01T00:00:00.000Z",
        "safetensors": {"parameters": {"BF16": 1_000_000}, "total": 1_000_000},
        "sha": "a" * 40,
        "gated": False,
        **more,
    }
