"""What all handlers of one server share: the application, its limits, the ledger, the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.requests import Request

from headrace import __version__
from headrace.ops.metrics import Metrics
from headrace.ops.serve import Caller, Desk
from headrace.resources import build
from headrace.settings import Settings
from headrace.web import text

if TYPE_CHECKING:
    from headrace.flows.app import App
    from headrace.ledger.database import Ledger

HERE = Path(__file__).parent


def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["version"] = __version__
    made.filters.update(
        paragraphs=text.paragraphs,
        moment=text.moment,
        duration=text.duration,
        pretty=text.pretty,
        inline=text.inline,
        shorten=text.one_line,
    )
    return made


@dataclass(frozen=True, kw_only=True)
class Site:
    """One server. ``key`` None: no key is asked for, which only loopback may do."""

    app: App
    settings: Settings
    key: str | None
    desk: Desk
    metrics: Metrics
    templates: jinja2.Environment = field(default_factory=_templates)

    @property
    def ledger(self) -> Ledger:
        return build.ledger(self.app.root)

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of the application's inputs."""
        return self.app.signature.schema()


def site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


def caller(request: Request) -> Caller:
    """Who asks, as the door middleware established it."""
    found: Caller = request.state.caller
    return found
