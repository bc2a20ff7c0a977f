"""Structured output: what is read of values as models write them, and that nothing else is.

Random values that fit one of four schemas are written with one slip each: in a fence, within prose, with a
comma too many, in Python's notation … Read by ``json.loads`` and by Headrace, in one attempt. Then slips
that lose or change something (a text that breaks off, a property gone, a wrong type, a number out of
bounds): whatever is accepted there is wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

import machine
from headrace.measure.statistics import rate
from headrace.models.structured import Form

TEXT = {"type": "string", "minLength": 1}
ORDER = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["rye", "wheat"]},
        "bags": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["kind", "bags"],
    "additionalProperties": False,
}
NOTE = {
    "type": "object",
    "properties": {"text": TEXT, "urgent": {"type": "boolean"}, "due": {"type": ["string", "null"]}},
    "required": ["text", "urgent", "due"],
    "additionalProperties": False,
}
SCHEMAS = (
    ORDER,
    NOTE,
    {"type": "array", "items": ORDER, "minItems": 1},
    {
        "type": "object",
        "properties": {"note": NOTE, "orders": {"type": "array", "items": ORDER}},
        "required": ["note", "orders"],
        "additionalProperties": False,
    },
)
WORDS = ("flour", "it's late", 'said "no"', "a {brace}", "[1]", "a, b", "c:\\mill", "two\nlines", "// no")
WORDS += ("🙂 ok", "שלום")


def value_for(schema: dict[str, Any], rng: random.Random) -> Any:
    if schema is ORDER:
        return {"kind": rng.choice(["rye", "wheat"]), "bags": rng.randint(1, 99)}
    if schema is NOTE:
        said = " ".join(rng.choices(WORDS, k=3))
        return {"text": said, "urgent": rng.random() < 0.5, "due": rng.choice([None, "Monday"])}
    if schema["type"] == "array":
        return [value_for(ORDER, rng) for _ in range(rng.randint(1, 4))]
    return {"note": value_for(NOTE, rng), "orders": [value_for(ORDER, rng) for _ in range(rng.randint(0, 3))]}


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def comma(value: Any) -> str:
    text = dumps(value)
    return text[:-1] + "," + text[-1]


HARMLESS: dict[str, Callable[[Any], str]] = {
    "as it is": dumps,
    "indented": lambda v: json.dumps(v, indent=2),
    "fenced": lambda v: f"```json\n{dumps(v)}\n```",
    "fence and prose": lambda v: f"Sure! Here you are:\n\n```\n{dumps(v)}\n```\n\nAnything else?",
    "within prose": lambda v: f"The answer is {dumps(v)}. I hope that helps.",
    "comma too many": comma,
    "a comment": lambda v: dumps(v)[0] + "  // as asked\n" + dumps(v)[1:],
    "Python's notation": repr,
    "Python's words": lambda v: dumps(v).replace(": true", ": True").replace(": null", ": None"),
    "raw line breaks": lambda v: dumps(v).replace("\\n", "\n"),
    "thought before": lambda v: f'<think>Perhaps {{"kind": "rye"}}?</think>\n{dumps(v)}',
    "braces before": lambda v: f"I use {{}} and [brackets] for it: {dumps(v)}",
}


def broken_off(value: Any) -> str:
    text = dumps(value)
    return text[: max(1, len(text) * 3 // 4)]


def changed(value: Any, change: Callable[[dict[str, Any]], None]) -> str:
    copy = json.loads(dumps(value))
    inner = copy[0] if isinstance(copy, list) else copy.get("note", copy)
    change(inner)
    return f"```json\n{dumps(copy)}\n```"


def wrong_type(inner: dict[str, Any]) -> None:
    inner.update({"bags": "many"} if "bags" in inner else {"urgent": "maybe"})


def out_of_bounds(inner: dict[str, Any]) -> None:
    inner.update({"bags": 100} if "bags" in inner else {"text": ""})


HARMFUL: dict[str, Callable[[Any], str]] = {
    "broken off": broken_off,
    "property gone": lambda v: changed(v, lambda inner: inner.pop(next(iter(inner)))),
    "wrong type": lambda v: changed(v, wrong_type),
    "out of bounds": lambda v: changed(v, out_of_bounds),
    "unknown property": lambda v: changed(v, lambda inner: inner.update(more=1)),
    "no value at all": lambda v: "I am sorry, I cannot say which kind.",
}


def plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--values", type=int, default=400)
    count = options.parse_args().values
    rng = random.Random(0)
    forms = [Form(schema) for schema in SCHEMAS]
    values = [(i % 4, value_for(SCHEMAS[i % 4], rng)) for i in range(count)]
    began = time.perf_counter()
    rows = {}
    for name, slip in HARMLESS.items():
        read = sum(forms[i].read(slip(value))[0] == value for i, value in values)
        alone = sum(plain(slip(value)) == value for _, value in values)
        rows[name] = {"read": read / count, "json_loads": alone / count}
    accepted = {
        name: sum(not forms[i].read(slip(value))[1] for i, value in values) for name, slip in HARMFUL.items()
    }
    seconds = time.perf_counter() - began
    whole = rate(round(sum(row["read"] for row in rows.values()) * count), count * len(rows))
    alone = rate(round(sum(row["json_loads"] for row in rows.values()) * count), count * len(rows))
    for name, row in rows.items():
        print(f"{name:20} {row['read']:6.3f}   json.loads {row['json_loads']:6.3f}")
    print(f"{'all':20} {whole.value:.3f} [{whole.low:.3f}, {whole.high:.3f}]   json.loads {alone.value:.3f}")
    print("accepted although it does not fit:", accepted, f"of {count} each; {seconds:.1f} s")
    result = {
        "values": count,
        "slips": rows,
        "read": {"value": whole.value, "low": whole.low, "high": whole.high, "n": whole.n},
        "json_loads": {"value": alone.value, "low": alone.low, "high": alone.high, "n": alone.n},
        "wrongly_accepted": accepted,
        "seconds": round(seconds, 2),
    }
    machine.save("structured", result, command=f"benchmarks/structured.py --values {count}")


if __name__ == "__main__":
    main()
