"""The door: who may come in, from where, with how much, and what every response says about safety.

One ASGI middleware in front of everything. Checks, in this order: the Host header (DNS
rebinding), the origin of what a browser sends (forged requests), the size of the body, the key and
what it is for. The keys themselves are kept by ``ops/keys.py``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.errors import Forbidden, HeadraceError, OutOfScope, TooLarge, Untrusted
from headrace.network import is_loopback
from headrace.ops.keys import Key, Keys, pass_secret
from headrace.ops.running import Caller
from headrace.web.respond import describe, error_response, log, openai_error, wants_html
from headrace.web.site import Site

SESSION = "headrace_session"
PASS = "headrace_pass"
PASS_SECONDS = 30 * 86400
OPEN = ("/livez", "/readyz", "/sign-in", "/sign-in.json")
# What a key must have been made for. Everything else is ``read`` to look at, ``admin`` to change.
NEEDS = {
    "/": "invoke",
    "/index.json": "invoke",
    "/feedback": "feedback",
    "/openapi.json": "",  # any good key
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that a browser sends 'Origin: null' with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def scope_for(method: str, path: str) -> str:
    """The scope that a request needs; "" where any good key will do."""
    if path.startswith(("/v1/", "/tasks")):
        return "invoke"
    return NEEDS.get(path, "read" if method in ("GET", "HEAD", "OPTIONS") else "admin")


class Gate:
    """Which keys open the server: the one of the environment, and those of ``headrace keys``.

    ``must``: a key is asked for even where none was made (any address but loopback).
    """

    def __init__(self, key: str | None, keys: Keys | None = None, *, must: bool = False) -> None:
        self._key = key
        self._keys = keys
        self._must = must

    @property
    def asks(self) -> bool:
        """Whether a key is asked for."""
        return self._must or self._key is not None or (self._keys is not None and self._keys.any)

    def admit(self, token: str) -> Key | None:
        """Whose key this is; None where it is nobody's."""
        if self._key is not None and same_key(token, self._key):
            return _OF_THE_ENVIRONMENT
        return self._keys.check(token) if self._keys is not None else None

    def make_pass(self, key: Key, now: float) -> str:
        """A pass for a browser that has shown this key."""
        return make_pass(self._secret(key.id), now, key.id)

    def admit_pass(self, text: str, now: float) -> Key | None:
        """Whose pass this is. It ends with its key."""
        parts = text.split(".")
        if len(parts) != 4:
            return None
        if parts[2] == _OF_THE_ENVIRONMENT.id:
            key = _OF_THE_ENVIRONMENT if self._key is not None else None
        else:
            key = self._keys.get(parts[2]) if self._keys is not None else None
        return key if key is not None and pass_is_good(self._secret(key.id), text, now) else None

    def _secret(self, id: str) -> str:
        if id == _OF_THE_ENVIRONMENT.id:
            assert self._key is not None
            return self._key
        assert self._keys is not None
        return pass_secret(self._keys.path.parent)


_OF_THE_ENVIRONMENT = Key(id="environment", name="environment", scopes=("admin",), created=0.0)


def make_pass(key: str, now: float, owner: str = _OF_THE_ENVIRONMENT.id) -> str:
    """A signed pass for a browser that has shown a key: ``expiry.nonce.owner.signature``."""
    body = f"{int(now) + PASS_SECONDS}.{secrets.token_hex(8)}.{owner}"
    return f"{body}.{_sign(key, body)}"


def pass_is_good(key: str, text: str, now: float) -> bool:
    """Whether :func:`make_pass` made it with this key and it has not expired."""
    body, _, signature = text.rpartition(".")
    if not hmac.compare_digest(_sign(key, body).encode(), signature.encode()):
        return False
    expiry = body.partition(".")[0]
    return expiry.isdigit() and int(expiry) > now


def _sign(key: str, body: str) -> str:
    return hmac.new(key.encode(), f"headrace-pass:{body}".encode(), hashlib.sha256).hexdigest()


def same_key(given: str, key: str) -> bool:
    """Constant-time comparison, of hashes, so that the length does not show either."""
    return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(key.encode()).digest())


class Door:
    """See the module. ``routes`` maps endpoints to the route patterns that metrics are labelled with."""

    def __init__(
        self,
        inner: ASGIApp,
        *,
        site: Site,
        routes: Mapping[object, str],
        on_error: Callable[[Request, Exception], Response],
    ) -> None:
        self.inner = inner
        self.on_error = on_error
        self.site = site
        self.routes = routes
        base = f"/v1/apps/{site.name}"
        self._runs = {f"{base}/{verb}": f"/v1/apps/{{name}}/{verb}" for verb in ("invoke", "stream")}
        self.limit = int(site.settings.serve.body_mb * 1024 * 1024)
        self.on_loopback = is_loopback(f"//{_bracketed(site.settings.serve.host)}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        began = time.perf_counter()
        asks = scope["method"] == "POST" and (scope["path"] in self._runs or scope["path"] == _CHAT)
        if asks and self.site.desk.admission.full:
            # Before all else: refusing must cost next to nothing when it is asked of us all the time.
            await self._refuse_at_once(scope, send, began)
            return
        status, started = 500, False
        connection = HTTPConnection(scope)
        session = connection.cookies.get(SESSION, "")
        fresh = "" if _is_session(session) else secrets.token_hex(16)

        async def guarded(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                self._seal(scope, MutableHeaders(scope=message), fresh)
            await send(message)

        try:
            response = self._refuse(scope, connection, session or fresh)
            if response is not None:
                await response(scope, receive, guarded)
            else:
                try:
                    await self.inner(scope, self._limited(receive), guarded)
                except Exception as problem:
                    log.exception("a request failed: %s %s", scope["method"], scope["path"])
                    if started:
                        raise  # only closing the connection can still tell the client
                    await self.on_error(Request(scope), problem)(scope, receive, guarded)
        finally:
            route = self.routes.get(scope.get("endpoint"), "other")
            self.site.metrics.request(route, status, time.perf_counter() - began)

    async def _refuse_at_once(self, scope: Scope, send: Send, began: float) -> None:
        error = self.site.desk.admission.refusal()
        status, described = describe(error, openly=False)
        shaped = openai_error(status, described) if scope["path"] == _CHAT else described
        body = json.dumps({"error": shaped}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", f"{error.retry_after:.0f}".encode()),
            (b"cache-control", b"no-store"),
            *_SEALS,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        route = self._runs.get(scope["path"], _CHAT)
        self.site.metrics.request(route, status, time.perf_counter() - began)

    # ------------------------------------------------------------------ checks

    def _refuse(self, scope: Scope, connection: HTTPConnection, session: str) -> Response | None:
        request = Request(scope)
        try:
            self._check_host(connection.headers)
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                self._check_origin(connection.headers)
            self._check_size(connection.headers)
            self._check_key(request)
        except OutOfScope as problem:
            return self.on_error(request, problem)
        except Forbidden as problem:
            if type(problem) is Forbidden and scope["method"] == "GET" and wants_html(request):
                wanted = scope["path"] + (f"?{query}" if (query := scope["query_string"].decode()) else "")
                return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", status_code=303)
            return error_response(request, problem)
        except HeadraceError as problem:
            return error_response(request, problem)
        user = connection.headers.get("x-headrace-user", "").strip()[:200]
        scope.setdefault("state", {})["caller"] = Caller(user=user, session=session)
        return None

    def _check_host(self, headers: Headers) -> None:
        """A name that an attacker's DNS points at this machine must not reach the application."""
        if not self.on_loopback:
            return  # there a key is asked for, which the attacker's page does not have
        host = headers.get("host", "")
        if is_loopback(f"//{host}") or urlsplit(f"//{host}").hostname == self.site.settings.serve.host:
            return
        raise Untrusted(
            f"This server does not answer to the name {host!r}.",
            hint=f"Open it as http://{self.site.settings.serve.host}:{self.site.settings.serve.port}/",
        )

    @staticmethod
    def _check_origin(headers: Headers) -> None:
        """Browsers name the page that sends; only our own may. Programs send no origin."""
        origin = headers.get("origin")
        if origin is not None:
            trusted = urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
        else:
            trusted = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        if not trusted:
            raise Untrusted(
                f"A page of {origin!r} may not use this server.",
                hint="Call it from a program, or from its own page.",
            )

    def _check_size(self, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limit:
            raise self._too_large()

    def _check_key(self, request: Request) -> None:
        gate, path = self.site.gate, request.url.path
        if path in OPEN or path.startswith("/static/") or not gate.asks:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        key = gate.admit(given.strip()) if scheme.lower() == "bearer" else None
        if key is None and (shown := request.cookies.get(PASS, "")):
            key = gate.admit_pass(shown, time.time())
        if key is None:
            raise Forbidden(
                "The key is missing or wrong.",
                hint="Send it as 'Authorization: Bearer KEY', or sign in on the page.",
            )
        scope = scope_for(request.method, path)
        if scope and not key.allows(scope):
            raise OutOfScope(
                f"The key {key.name!r} is for {', '.join(key.scopes)}; this needs {scope!r}.",
                hint=f"Make one with: headrace keys create NAME --scope {scope}",
            )

    def _limited(self, receive: Receive) -> Receive:
        """A body without a length is counted as it comes."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"The request is larger than {self.site.settings.serve.body_mb:g} MB.",
            hint="Send less, or raise body_mb under [serve] in headrace.toml.",
        )

    # ------------------------------------------------------------------ what responses say

    @staticmethod
    def _seal(scope: Scope, headers: MutableHeaders, fresh: str) -> None:
        headers.raw.extend(_SEALS)
        if not scope["path"].startswith("/static/"):
            headers.setdefault("cache-control", "no-store")
        if fresh and headers.get("content-type", "").startswith("text/html"):
            headers.append("set-cookie", cookie(SESSION, fresh, scope["scheme"]))


_CHAT = "/v1/chat/completions"
_SEALS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


def cookie(name: str, value: str, scheme: str, seconds: int = PASS_SECONDS) -> str:
    """A Set-Cookie value that scripts cannot read and other sites cannot send."""
    secure = "; Secure" if scheme == "https" else ""
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _is_session(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
