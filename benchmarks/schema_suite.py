"""The schema checker against the official JSON Schema test suite (draft 2020-12).

    git clone https://github.com/json-schema-org/JSON-Schema-Test-Suite
    .venv/bin/python benchmarks/schema_suite.py JSON-Schema-Test-Suite

A schema with a keyword that is not known here is refused, and counted as such; every other test has to
come out as the suite says. Formats are the one deliberate difference: the suite has them say nothing by
default, and here dates, times, UUIDs and addresses are checked.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import machine
from headrace.errors import InputError
from headrace.schema.check import check
from headrace.schema.values import fits

FORMATS = "format.json"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("suite", type=Path)
    folder = options.parse_args().suite / "tests" / "draft2020-12"
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    wrong = []
    for path in sorted(folder.glob("*.json")):
        for group in json.loads(path.read_text(encoding="utf-8")):
            counts["schemas"] += 1
            schema = group["schema"]
            try:
                check(schema)
            except InputError as error:
                if not error.message.startswith("No value can"):
                    refused[path.stem] += 1
                    continue
                counts["unsatisfiable"] += 1
                if any(test["valid"] for test in group["tests"]):
                    wrong.append(f"{path.name}: {group['description']}: called unsatisfiable")
                continue
            for test in group["tests"]:
                counts["tests"] += 1
                if fits(test["data"], schema) == test["valid"]:
                    counts["agree"] += 1
                elif path.name == FORMATS:
                    counts["formats"] += 1
                else:
                    wrong.append(f"{path.name}: {group['description']}: {test['description']}")
    result = {
        "schemas": counts["schemas"],
        "refused": sum(refused.values()),
        "refused_by_file": dict(refused),
        "unsatisfiable": counts["unsatisfiable"],
        "tests": counts["tests"],
        "agree": counts["agree"],
        "stricter_formats": counts["formats"],
        "wrong": wrong,
    }
    print(json.dumps(result, indent=2))
    machine.save("schema_suite", result, command="benchmarks/schema_suite.py JSON-Schema-Test-Suite")


if __name__ == "__main__":
    main()
