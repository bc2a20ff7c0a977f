"""What all handlers of one server share: who answers, the limits, the ledger, the templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from starlette.requests import Request

from headrace import __version__
from headrace.errors import Starting
from headrace.ops.metrics import Metrics
from headrace.ops.running import Caller, Description
from headrace.ops.serve import Desk
from headrace.resources import build
from headrace.settings import Settings
from headrace.web import text

if TYPE_CHECKING:
    from headrace.ledger.database import Ledger
    from headrace.web.security import Gate

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
    """One server, of the project whose ``settings`` these are."""

    name: str
    settings: Settings
    gate: Gate
    desk: Desk
    metrics: Metrics
    templates: jinja2.Environment = field(default_factory=_templates)

    @property
    def root(self) -> Path:
        return self.settings.root

    @property
    def ledger(self) -> Ledger:
        return build.ledger(self.root)

    @property
    def app(self) -> Description:
        """What is served now to most people; while it is being started, only its name is known."""
        try:
            return self.desk.staff.description
        except Starting:
            return Description(name=self.name)


def site(request: Request) -> Site:
    found: Site = request.app.state.site
    return found


def app_for(request: Request) -> Description:
    """The application as this caller gets it: during a canary its form may differ between users."""
    where = site(request)
    try:
        return where.desk.staff.choose(caller(request)).description
    except Starting:
        return where.app


def caller(request: Request) -> Caller:
    """Who asks, as the door middleware established it."""
    found: Caller = getattr(request.state, "caller", Caller())  # none where the door refused
    return found
