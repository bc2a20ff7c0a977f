"""The egress policy: nothing leaves the machine unasked, and this is the one place that opens it.

Policies: ``off`` refuses everything but loopback; ``named`` (the default) also allows the
addresses that a person wrote down: the URL of a model, a provider that was named; ``open`` also
allows looking things up on hubs. Loopback does not count as network.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from headrace.errors import NetworkRefused
from headrace.settings import Policy

if TYPE_CHECKING:
    import httpx


def is_loopback(url: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1. Names are not resolved: that would be traffic."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require(url: str, policy: Policy, *, named: bool) -> None:
    """Raise NetworkRefused unless the policy lets this process talk to ``url``.

    ``named`` is True where a person named this address or its provider.
    """
    if is_loopback(url) or policy == "open" or (policy == "named" and named):
        return
    host = urlsplit(url).hostname or url
    raise NetworkRefused(
        f"The network policy {policy!r} does not allow a connection to {host!r}.",
        hint="Set policy under [network] in headrace.toml (or HEADRACE_NETWORK) to "
        + ("'named' or 'open'." if named else "'open'.")
        + " Nothing was sent.",
    )


def client(url: str, policy: Policy, *, named: bool, **options: Any) -> httpx.Client:
    """An HTTP client for ``url``, or NetworkRefused. Redirects to other hosts are not followed."""
    require(url, policy, named=named)
    import httpx

    # A proxy from the environment would take loopback traffic off the machine.
    return httpx.Client(trust_env=not is_loopback(url), follow_redirects=False, **options)
