"""Fixtures for all tests: what may be missing on a machine, and what must not be."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from needs import skip

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure() -> None:
    """A shell that starts us in the background has us ignore Ctrl-C, and our children with us: they
    are sent it by tests, so it means again what it means to a person."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the settings of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") and name not in ("HEADRACE_REQUIRE", "HEADRACE_HOME"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One folder for converted models for the whole run: inside the project, or a temporary one."""
    os.environ.setdefault("HEADRACE_HOME", str(ROOT / ".headrace" / "home"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real public data sets beside the checkout; most tests do without them."""
    if not SHARED.is_dir():
        skip("shared", f"the data folder {SHARED.name!r} is not beside the project")
    return SHARED


@pytest.fixture(scope="session")
def embedder():  # type: ignore[no-untyped-def]
    """The packaged MiniLM in its default precision."""
    from headrace.errors import HeadraceError
    from headrace.models.embedder import open_embedder
    from headrace.settings import home

    try:
        return open_embedder(home=home())
    except HeadraceError as error:
        skip("weights", f"no embedding weights here: {error}")
