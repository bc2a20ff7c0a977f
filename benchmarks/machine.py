"""Where a result came from: date, processor, memory, versions. Every benchmark saves through here."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def describe() -> dict[str, Any]:
    """Processor, cores, memory, operating system, versions of what does the work."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    found = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {key.strip(): value.strip() for key, value in found.items()}
    flags = set(fields.get("flags", "").split())
    names = ("headrace", "numpy", "openvino", "tantivy", "tokenizers")
    return {
        "processor": fields.get("model name", platform.processor()),
        "flags": sorted(flags & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_int8", "amx_bf16"}),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in names},
    }


def save(name: str, result: dict[str, Any], *, command: str) -> Path:
    """Write ``results/NAME.json`` with date, machine and command; returns its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    whole = {"benchmark": name, "date": today, "command": command, "machine": describe(), **result}
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
