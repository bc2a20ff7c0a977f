"""Python code in the sandbox: the tool that people and agents call. How it is isolated: ``sandbox.py``."""

from __future__ import annotations

import os

from headrace.tools.sandbox import Limits, Ran, execute


def python(
    code: str,
    workspace: str | os.PathLike[str] | None = None,
    timeout: float = 10.0,
    memory_mb: int = 512,
    *,
    packages: bool = False,
    unsafe: bool = False,
) -> Ran:
    """Run Python code in a sandbox and see what it prints. The value of a last expression is printed too.

    Gives ``stdout, stderr, exit_code, files, outcome`` (``ok, error, timeout, memory, refused``). The
    code sees ``workspace`` as its current folder and may write there; without one it has a folder
    that is removed at the end. No network, no other files, no other processes; ``timeout`` is in
    seconds. ``packages``: the installed packages can be imported (read-only), else only the standard
    library. Where code cannot be isolated it is refused, unless ``unsafe``. Of each stream 100,000
    bytes are kept, and what was cut is said.
    """
    limits = Limits(seconds=timeout, memory_mb=memory_mb)
    return execute(code, workspace=workspace, limits=limits, packages=packages, unsafe=unsafe)


python.__dict__["model_arguments"] = ("code",)  # what a model may choose; the rest is the author's
