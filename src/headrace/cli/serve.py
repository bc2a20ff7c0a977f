"""serve: the page and the HTTP interface. The one place that imports the web door."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from headrace.cli.console import kb_option, print_json, say
from headrace.flows.app import App

if TYPE_CHECKING:
    from headrace.ops.router import Router
    from headrace.settings import Settings


@click.command(
    epilog="""\b
Examples:
  headrace serve
  headrace serve app.py:handbook --port 9000
  headrace serve --kb ./kb
  headrace serve handbook@production
  HEADRACE_KEY=… headrace serve --host 0.0.0.0

\b
The page is at /, the application at POST /v1/apps/NAME/invoke, OpenAI clients
use /v1/chat/completions. By alias, each live release runs in a process of
its own, and a promotion or a rollback reaches them at once. SIGTERM finishes
what runs, then ends with 0; a second one ends at once. Limits:
[serve] in headrace.toml."""
)
@click.argument("target", required=False)
@kb_option()
@click.option("--model", metavar="MODEL", help="provider:model, or the name of a [models.NAME] table.")
@click.option("--host", help="Address to listen on; any but loopback needs a key.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.  [default: 8000]")
@click.option("--reload", is_flag=True, help="Start again when a project file changes (for development).")
@click.option("--json", "as_json", is_flag=True, help="Print the address as one JSON value when ready.")
def serve(
    target: str | None,
    kb_name: str | None,
    model: str | None,
    host: str | None,
    port: int | None,
    reload: bool,
    as_json: bool,
) -> int:
    """Serve the page and the HTTP interface.

    TARGET is file.py:function, a project folder, or NAME@ALIAS (production, staging) for what was
    released; without it the project's application is served, and where there is none, questions to
    its knowledge base.
    """
    import sys

    from headrace.extras import need
    from headrace.settings import load

    if reload:
        return _reloading()
    from headrace.flows.load import is_release

    name, staff, settings = "", None, load()
    if target is not None and is_release(target):
        if kb_name is not None or model is not None:
            raise click.UsageError("A release has its knowledge base and its model: leave --kb and --model.")
        # First of all: its worker loads while we import the rest.
        name, staff = _by_alias(target, settings)
    for module in ("starlette", "uvicorn", "jinja2", "prometheus_client"):
        need(module, extra="serve", for_what="headrace serve")
    from headrace.ops.running import Staff, Threads, describe
    from headrace.web.server import serve as run

    answering: Staff
    if staff is not None:
        answering = staff
    else:
        app = _application(target, kb_name, model)
        describe(app)  # a signature without a schema stops the start, not the first request
        settings = load(app.root)
        name, answering = app.name, Threads(app, settings.serve.concurrency)
    chosen = replace(
        settings.serve,
        host=host if host is not None else settings.serve.host,
        port=port if port is not None else settings.serve.port,
    )

    def started(url: str) -> None:
        if as_json:
            print_json({"url": url, "app": name})
            sys.stdout.flush()
        say(f"{name} is at {url}  (stop with Ctrl-C)")

    return run(name, answering, replace(settings, serve=chosen), started=started)


def _by_alias(target: str, settings: Settings) -> tuple[str, Router]:
    """The name and the router of NAME@ALIAS. NotFound where it points to no release."""
    from headrace.ops.router import router_of
    from headrace.resources import build

    name, _, alias = target.partition("@")
    if alias not in ("production", "staging"):
        raise click.UsageError(f"{alias!r} is not an alias that can be served: production or staging.")
    root = settings.root
    router = router_of(name, build.registry(root), root=root, settings=settings.serve, alias=alias)
    router.prepare()
    return name, router


def _application(target: str | None, kb_name: str | None, model: str | None) -> App:
    """As ``ask`` chooses it, except that the project's own application may have any signature."""
    from headrace.flows.ask import question_app
    from headrace.flows.load import load as load_app
    from headrace.flows.load import project_app
    from headrace.resources.handles import ModelHandle

    if target is not None and kb_name is not None:
        raise click.UsageError("TARGET and --kb exclude each other: an application names its own.")
    app = load_app(target) if target is not None else None if kb_name is not None else project_app()
    if app is None:
        return question_app(kb_name, model)
    if model:
        return app.using({h: model for h in app.handles if isinstance(h, ModelHandle)})
    return app


def _reloading() -> int:
    """Run the same command without --reload in a child, again whenever a project file changes."""
    import subprocess
    import sys
    import time
    from pathlib import Path

    from headrace.settings import find_root

    root = find_root()

    def stamps() -> dict[Path, int]:
        found = [
            path
            for pattern in ("*.py", "*.toml", "prompts/**/*")
            for path in root.glob(pattern)
            if path.is_file()
        ]
        return {path: path.stat().st_mtime_ns for path in found}

    words = [word for word in sys.argv[1:] if word != "--reload"]
    while True:
        before = stamps()
        child = subprocess.Popen([sys.executable, "-m", "headrace", *words])
        try:
            while child.poll() is None and stamps() == before:
                time.sleep(0.5)
            if child.poll() is not None:
                say("The server ended; waiting for a change.")
                while stamps() == before:
                    time.sleep(0.5)
            say("A file changed: starting again.")
        except KeyboardInterrupt:
            return child.wait()
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()
