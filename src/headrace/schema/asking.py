"""What a prompt says about a schema: the schema, and a worked example."""

from __future__ import annotations

import json
from typing import Any

from headrace.schema.values import Schema


def asking(schema: Schema, example: Any = None) -> str:
    """The order to reply with one JSON value that satisfies ``schema``; ``example`` None: without one."""
    order = (
        "Reply with one JSON value and nothing else: no explanation and no code fence. It must satisfy "
        f"this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
    )
    if example is None:
        return order
    shown = json.dumps(example, ensure_ascii=False)
    return f"{order}\n\nAn example of the form; its values are invented:\n{shown}"
