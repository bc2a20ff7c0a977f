"""The HTTP side of a remote model: connection, key, time limits, retries, and errors in plain words.

It knows status codes and JSON, and nothing of chats: ``remote.py`` does. The key is read from the
environment for each request and kept nowhere; whatever a server echoes of it is taken out.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import re
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace import network, request
from headrace.errors import HeadraceError, ModelBusy, ModelError, ModelRefused, ModelTimeout, SettingsError
from headrace.models.interrupt import TICK_SECONDS, make_interruptible
from headrace.models.wire import NoConnection, Reply, Wire
from headrace.settings import Policy, environment
from headrace.text import shorten

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 8.0  # seconds, of the exponential backoff
BODY_LIMIT = 64 * 1024 * 1024  # bytes
_LOOKS_SECRET = re.compile(r"\b(?:sk|pk|hf|gsk|xai|AIza)[-_][\w*.-]{6,}|\bBearer\s+\S+", re.IGNORECASE)


class Again(Exception):
    """Worth another try. ``error`` is what to say when none is left, ``after`` the server's wish."""

    def __init__(self, error: ModelError, *, after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after = after


class Rejected(Exception):
    """A status that says no; ``remote.py`` finds the words. ``message`` is the server's, cleaned."""

    def __init__(self, status: int, message: str, *, json: bool, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.json, self.code = status, message, json, code


class Endpoint:
    """An address that answers JSON over HTTP. ``key`` is the *name* of an environment variable.

    ``timeout`` is the longest silence in seconds (before the answer, and between two pieces of
    it); the request's deadline limits the whole. ``retries`` counts tries after the first one.
    Safe to share between threads; connections are kept and reused.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        policy: Policy = "named",
        timeout: float = 60.0,
        retries: int = 3,
        headers: Mapping[str, str] | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, a bracket left open
            usable = False
        if not usable:
            raise SettingsError(
                f"{shown(url)!r} is not the address of a model server.",
                hint="Write it whole, for example http://localhost:8000/v1.",
            )
        if not timeout > 0 or retries < 0:
            raise SettingsError(
                f"timeout={timeout!r} and retries={retries!r} do not fit.",
                hint="timeout is in seconds and above 0, retries at least 0.",
            )
        network.require(url, policy, named=True)
        self._url = url.rstrip("/")
        self.shown = shown(self._url)
        self.host = parts.hostname or ""
        self.key = key
        self._policy: Policy = policy
        self.timeout = timeout
        self.retries = retries
        self._headers = dict(headers or {})
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._client: httpx.Client | None = None
        self._target = parts.path.rstrip("/")
        plain = parts.scheme == "http" and not (parts.username or parts.query or parts.fragment)
        here = plain and network.is_loopback(url) and parts.hostname is not None
        self._wire = Wire(parts.hostname or "", parts.port or 80) if here else None
        if self._wire is not None:
            weakref.finalize(self, self._wire.close)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Endpoint({self.shown!r})"

    # ------------------------------------------------------------------ requests

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """One request, one JSON value."""
        with self.open("POST", path, body) as answer:
            return answer.json()

    def get(self, path: str, *, timeout: float) -> Any:
        """One request without a body."""
        with self.open("GET", path, None, timeout=timeout) as answer:
            return answer.json()

    @contextmanager
    def open(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, timeout: float | None = None
    ) -> Iterator[Answer]:
        """Send a request; the answer's body is read within the block and closed after it.

        Raises Again, Rejected, ModelTimeout, ModelRefused or Cancelled.
        """
        seconds = timeout or self.timeout
        connect = min(CONNECT_SECONDS, seconds)
        headers = {"Accept": "application/json, text/event-stream", **self._headers, **self._authorization()}
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            with _place(), self._sent(method, path, content, headers, connect, seconds) as response:
                answer = Answer(response, self.shown)
                if response.status_code >= 300:
                    self._refuse(answer)
                yield answer
        except (HeadraceError, Again, Rejected):
            raise
        except Exception as error:
            told = self._told(error, connect, seconds)
            if told is error:
                raise
            raise told from error

    def _told(self, error: Exception, connect: float, seconds: float) -> Exception:
        """What an error of the connection means; any other one as it is."""
        import httpx  # 0.2 s, which a server on this machine costs only when it fails

        if isinstance(error, httpx.ConnectTimeout):
            return Again(
                ModelTimeout(
                    f"{self.shown!r} took no connection within {connect} seconds.",
                    hint="Check that the address is right and reachable from here.",
                )
            )
        if isinstance(error, httpx.TimeoutException):
            return ModelTimeout(
                f"{self.shown!r} was silent for {seconds:g} seconds.",
                hint="Raise timeout for this model in headrace.toml, or ask for fewer tokens.",
            )
        if isinstance(error, httpx.ConnectError):
            return self._unreachable(error)
        if isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError)):
            return Again(
                ModelError(
                    f"The connection to {self.shown!r} broke: {self.clean(str(error)) or 'no reason given'}.",
                    hint="Try again; if it stays so, look at the server's log.",
                )
            )
        if isinstance(error, httpx.HTTPError):
            return ModelError(
                f"Talking to {self.shown!r} failed: {self.clean(str(error))} ({type(error).__name__}).",
                hint="Check the address and, where there is one, the proxy.",
            )
        return error

    def _sent(
        self,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        connect: float,
        silence: float,
    ) -> AbstractContextManager[Any]:
        if self._wire is not None:
            return self._sent_here(self._wire, method, path, content, headers, connect, silence)
        import httpx

        limits = httpx.Timeout(silence, connect=connect, pool=None)
        url = self._url + path
        return self._opened().stream(method, url, content=content, headers=dict(headers), timeout=limits)

    @contextmanager
    def _sent_here(
        self,
        wire: Wire,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
        connect: float,
        silence: float,
    ) -> Iterator[Reply]:
        """The same over a kept connection on this machine; its errors come out as those of httpx."""
        target = self._target + path
        try:
            with wire.send(method, target, content, headers, connect=connect, silence=silence) as reply:
                yield reply
        except NoConnection as error:
            import httpx

            raise (httpx.ConnectTimeout if error.late else httpx.ConnectError)(str(error)) from error
        except TimeoutError as error:
            import httpx

            raise httpx.ReadTimeout(str(error)) from error
        except http.client.HTTPException as error:
            import httpx

            said = str(error) or type(error).__name__
            raise httpx.RemoteProtocolError(said) from error
        except OSError as error:
            import httpx

            raise httpx.ReadError(error.strerror or str(error)) from error

    def pause(self, attempt: int, again: Again) -> None:
        """Wait before try ``attempt + 1`` (from 0), or raise the error where no try or time is left.

        Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS
        Architecture Blog, 2015); never shorter than the server's Retry-After.
        """
        request.checkpoint()
        if attempt >= self.retries:
            raise again.error from again
        seconds = self._rng.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt))
        if again.after is not None:
            seconds += again.after
        remaining = request.current().remaining
        limit = self.timeout if remaining is None else min(self.timeout, remaining)
        if seconds > limit:
            again.error.hint = (
                f"The next try was due in {seconds:.0f} seconds, and there were {limit:.0f} left to wait."
            )
            raise again.error from again
        while seconds > 0:
            self._sleep(min(seconds, TICK_SECONDS))
            seconds -= TICK_SECONDS
            request.checkpoint()

    def close(self) -> None:
        """Close all connections. The next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if self._wire is not None:
            self._wire.close()
        if client is not None:
            client.close()

    def clean(self, said: str) -> str:
        """What a server said, in one line, without the key or anything that looks like one."""
        if value := environment(self.key) if self.key else "":
            said = said.replace(value, "***")
        return shorten(_LOOKS_SECRET.sub("***", said), 300)

    # ------------------------------------------------------------------ inside

    def _authorization(self) -> dict[str, str]:
        value = environment(self.key) if self.key else ""
        if not value:
            return {}
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ModelRefused(
                f"The variable {self.key!r} holds characters that no key has (a blank, a line break, …).",
                hint="Set it again without quotes and blanks. Nothing was sent.",
            )
        return {"Authorization": f"Bearer {value}"}

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                import httpx

                limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
                self._client = network.client(self._url, self._policy, named=True, limits=limits)
                make_interruptible(self._client)
                weakref.finalize(self, self._client.close)  # httpx leaves sockets open when forgotten
            return self._client

    def _refuse(self, answer: Answer) -> None:
        status, after = answer.status, _seconds(answer.header("retry-after"))
        if 300 <= status < 400:
            raise ModelRefused(
                f"{self.shown!r} redirects to {shown(answer.header('location'))!r}, which is not followed.",
                hint="Set url to the final address.",
            )
        message, code, is_json = answer.complaint()
        message = self.clean(message)
        if status in (429, 503) and code != "insufficient_quota":
            why = "is asked too often" if status == 429 else "has no capacity"
            raise Again(
                ModelBusy(
                    f"{self.shown!r} {why} (HTTP {status}): {message}",
                    hint="Wait and try again, or ask less at once.",
                ),
                after=after,
            )
        raise Rejected(status, message, json=is_json, code=code)

    def _unreachable(self, error: Exception) -> Exception:
        """A connection that could not be made: worth another try, except where TLS says no."""
        said = self.clean(str(error))
        if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)) or "SSL" in said:
            return ModelRefused(
                f"{self.shown!r} could not be reached safely: {said}.",
                hint="If the server speaks plain HTTP, write http:// in url; if its certificate is your "
                "own, point SSL_CERT_FILE at it.",
            )
        return Again(
            ModelRefused(
                f"Nothing answers at {self.shown!r}: {said}.",
                hint="Is the server running, and are host and port of url right?",
            )
        )


def _place() -> AbstractContextManager[None]:
    gate = request.current().gate
    return nullcontext() if gate is None else gate.place()


class Answer:
    """The answer to one request, its body not yet read."""

    def __init__(self, response: httpx.Response | Reply, shown: str) -> None:
        self._response = response
        self._shown = shown
        self.status = response.status_code

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    @property
    def media(self) -> str:
        """``application/json`` and the like, without parameters."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes."""
        return self._response.iter_bytes()

    def json(self) -> Any:
        """The body as JSON; ModelRefused where it is a web page, ModelError where it is neither."""
        body = self._body()
        try:
            return json.loads(body)
        except ValueError as error:
            said = shorten(body.decode("utf-8", "replace"), 120)
            if self.media == "text/html":
                raise not_an_api(self._shown, said) from error
            raise ModelError(
                f"{self._shown!r} answered with something that is not JSON: {said!r}.",
                hint="The server is at fault; look at its log.",
            ) from error

    def complaint(self) -> tuple[str, str, bool]:
        """The message of an error answer, its code, and whether it was JSON."""
        body = self._body()
        try:
            data = json.loads(body)
        except ValueError:
            return shorten(body.decode("utf-8", "replace"), 200), "", False
        return (*read_error(data), isinstance(data, dict))

    def _body(self) -> bytes:
        parts, size = [], 0
        for chunk in self.chunks():
            parts.append(chunk)
            if (size := size + len(chunk)) > BODY_LIMIT:
                raise ModelError(
                    f"{self._shown!r} answered with more than {BODY_LIMIT} bytes.",
                    hint="That is not the answer of a model; check the address.",
                )
        return b"".join(parts)


def read_error(data: Any) -> tuple[str, str]:
    """Message and code of an error object, in the shapes that servers use."""
    found = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(found, dict):
        message = found.get("message") or found.get("detail") or found
        code = found.get("code") or found.get("type") or ""
        return (message if isinstance(message, str) else json.dumps(message)), str(code)
    return str(found), ""


def not_an_api(where: str, said: str) -> ModelRefused:
    """A web page or a bare 404 where an API was expected."""
    missing = "" if re.search(r"/v\d+\w*$", where) else " Most servers want it to end in /v1."
    return ModelRefused(
        f"{where!r} is not the address of an OpenAI-style API: it answered {said!r}.",
        hint="Check url." + missing,
    )


def shown(url: str) -> str:
    """An address without user, password, query and fragment: those can be secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2].partition("?")[0]
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path


def _seconds(header: str) -> float | None:
    """Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3); None where it is neither."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
