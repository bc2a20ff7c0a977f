"""A release on trial: loaded from the registry by a fresh process, every byte read, and run once.

That process has nothing of the working copy in it: what it cannot do, production could not either.
Run as ``python -m headrace.ops.trial``; it reads one JSON object and writes one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import HeadraceError, StateError
from headrace.settings import child_environment
from headrace.types import Release

PROBE = "What is this about?"  # for applications that take text, where no example is at hand
LONGEST = 900.0  # seconds


def try_out(release: Release, root: Path, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Load and run a release in a fresh process: ``{"bytes", "seconds", "ran"}``. Raises what it raised.

    ``inputs`` are an example's, None for a plain question where the signature takes one.
    """
    job = {"root": str(root), "id": release.id, "inputs": dict(inputs) if inputs is not None else None}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "headrace.ops.trial"],  # -P: the project's files stay out of reach
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST,
            env=child_environment(HEADRACE_LEDGER="off"),
            cwd=root,
        )
    except subprocess.TimeoutExpired as error:
        raise StateError(
            f"Release {release.id[:12]} did not start and answer within {LONGEST:g} s.",
            hint="Run it by hand to see where it waits.",
        ) from error
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise StateError(
            f"Release {release.id[:12]} ended its process while it was tried out: {last[0]}",
            hint="Run it by hand: python -c \"import headrace as hr; hr.load('NAME@ID')\"",
        ) from error
    if "error" in found:
        problem = found["error"]
        kind = next((k for k in _kinds(HeadraceError) if k.__name__ == problem["kind"]), StateError)
        raised = kind.__new__(kind)
        HeadraceError.__init__(
            raised,
            f"Release {release.id[:12]} failed when it was tried out: {problem['message']}",
            hint=problem["hint"],
        )
        raise raised
    return found


def _kinds(kind: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)


def _job(job: Mapping[str, Any]) -> dict[str, Any]:
    from headrace.flows.sealed import load_release
    from headrace.resources import build

    began = time.perf_counter()
    root = Path(job["root"])
    release = build.registry(root).release(job["id"])
    size = build.bundles(root).verify(release.id)
    app = load_release(release, root)
    inputs = job["inputs"]
    if inputs is None:
        required = app.signature.required
        plain = all(app.signature.hints.get(name) is str for name in required)
        inputs = dict.fromkeys(required, PROBE) if plain else None
    if inputs is not None:
        app.run(inputs)
    return {
        "bytes": size,
        "seconds": round(time.perf_counter() - began, 3),
        "ran": inputs is not None,
    }


def main() -> int:
    """The child: a job on standard input, its result on standard output."""
    result = sys.stdout
    sys.stdout = sys.stderr  # what the application prints is not our answer
    try:
        found = _job(json.load(sys.stdin))
    except HeadraceError as error:
        found = {"error": {"kind": type(error).__name__, "message": error.message, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001 - the application's own: reported to the parent, which raises
        message = f"{type(error).__name__}: {error}"
        found = {"error": {"kind": "UserError", "message": message, "hint": "Run it to see where it fails."}}
    print(json.dumps(found), file=result, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
