"""A new project: an application that runs as it stands, its settings, documents and examples.

The sample documents are a made-up staff handbook, written for this purpose.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path

from headrace.errors import InputError, UserError

APP = '''"""{name}: answers questions from the documents in docs/."""

import headrace as hr

kb = hr.KnowledgeBase("kb")  # a handle: nothing is opened or read here
llm = hr.model("auto")  # what [models] default in headrace.toml names; without one, answers are quotes


@hr.app{decorator}
def {function}(question: str) -> hr.Answer:
    """Answer a question from the staff handbook."""
    passages = kb.search(question, top_k=4)
    return hr.answer(question, passages, model=llm)


if __name__ == "__main__":
    kb.add_files("docs")
    print({function}("How many days of leave do I get?").text)
'''

SETTINGS = """# Settings of this project. Every key, with its default, is described in the
# guide "Settings"; HEADRACE_… variables of the environment win over this file.

[project]
name = "{name}"

[app]
entry = "app.py:{function}"

[kb]
default = "kb"

# Without a model, answers are quoted from the documents. To have them written,
# name one: any OpenAI-style server, or weights on this machine.
#
# [models]
# default = "small"
#
# [models.small]
# url = "http://127.0.0.1:8080/v1"
# model = "name-of-the-model-there"

[network]
policy = "named"   # off: nothing leaves the machine; named: only what you name; open

[ledger]
content = true     # false: keep no texts in traces
retention_days = 90.0
"""

DOCS = {
    "leave.md": """# Leave

## Annual leave

Every employee has 27 days of paid leave a year. Leave is counted in working days and can be taken
in half days. Unused days expire on 31 March of the following year; up to five of them may be
carried over if your manager agrees in writing before the end of December.

Ask for leave in the calendar at least two weeks ahead. For a single day, two days are enough. Your
manager answers within three working days; no answer means yes.

## Sick leave

Tell your manager before ten in the morning of the first day. A doctor's note is needed from the
third day on. Sick days do not reduce your annual leave: days of annual leave on which you were ill
are given back once the note has been handed in.

## Parental leave

Parents of a new child have 16 weeks of paid leave, to be taken within the first year. Both parents
may take it, at the same time or one after the other. Tell the people team eight weeks before the
first day.
""",
    "travel.md": """# Travel

## Before you book

Trips of up to 400 euros need no approval. Anything above is approved by the head of your
department, in the travel form, before it is booked. Trips outside Europe are also approved by the
finance team.

## Trains, flights and hotels

Travel by train where the journey takes less than five hours. Trains may be booked in first class
from a journey of three hours on. Flights are booked in economy class. A hotel may cost up to 140
euros a night, breakfast included; in Geneva, London and Zurich up to 190 euros.

## Expenses

Hand in receipts within 30 days. Meals are refunded by a flat rate of 38 euros a day, 19 euros on
the days of departure and return. Expenses are paid with the next salary.
""",
    "equipment.md": """# Equipment

## Laptops

New employees choose between a 14-inch and a 16-inch laptop. Laptops are replaced every four years.
A lost or stolen laptop is reported to the help desk within one hour, day or night, at extension
4444; it is locked from there.

## Working from home

For a desk at home the company pays up to 600 euros once in three years: chair, desk, screen or
headset. Keep the invoice and hand it in like travel expenses. Employees may work from home up to
three days a week, and from abroad up to 20 days a year within the European Union.

## Passwords

Passwords have at least 14 characters and live in the password manager. Nobody, the help desk
included, will ever ask you for one.
""",
}

EVALS = [
    ("How many days of paid leave does an employee have?", "27", "docs/leave.md"),
    ("When do unused days of leave expire?", "31 March", "docs/leave.md"),
    ("From which day on is a doctor's note needed?", "third day", "docs/leave.md"),
    ("How long is parental leave?", "16 weeks", "docs/leave.md"),
    ("Who approves trips outside Europe?", "finance team", "docs/travel.md"),
    ("How much may a hotel in London cost?", "190 euros", "docs/travel.md"),
    ("How often are laptops replaced?", "every four years", "docs/equipment.md"),
    ("How many days a week may I work from home?", "three days", "docs/equipment.md"),
    ("What is the price of the company's shares?", None, None),
    ("Which dentist does the health insurance recommend?", None, None),
]

README = """# {name}

    headrace ingest docs/
    headrace ask "How many days of leave do I get?"
    headrace serve

`app.py` is the application, `headrace.toml` its settings, `docs/` what it answers from, `evals/`
questions with the answers that are expected, `prompts/` the prompts you write. Put your own
documents into `docs/` and run `headrace ingest docs/ --prune`.
"""

IGNORE = ".headrace/\n__pycache__/\n"


def create(name: str, where: Path) -> list[Path]:
    """Write the project NAME under ``where``; the files written. Nothing that exists is touched."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(
            f"{name!r} cannot be the name of a project.",
            hint="Begin with a letter and use letters, digits, '_' and '-', for example: handbook",
        )
    folder = where / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{str(folder)!r} exists already and is not empty.",
            hint="Choose another name, or remove it first.",
        )
    function = name.replace("-", "_").lower()
    if keyword.iskeyword(function) or function in ("kb", "llm", "hr"):
        function += "_app"
    decorator = "" if function == name else f'(name="{name}")'
    evals = "".join(_example(i, *row) + "\n" for i, row in enumerate(EVALS, 1))
    files = {
        "app.py": APP.format(name=name, function=function, decorator=decorator),
        "headrace.toml": SETTINGS.format(name=name, function=function),
        "README.md": README.format(name=name),
        ".gitignore": IGNORE,
        "evals/questions.jsonl": evals,
        "prompts/README.md": "Prompts of this application, one file each. Their contents are part of its "
        "fingerprint.\n",
        **{f"docs/{file}": text for file, text in DOCS.items()},
    }
    written = []
    for relative, text in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _example(number: int, question: str, answer: str | None, document: str | None) -> str:
    expectations = {"unanswerable": True} if answer is None else {"answer": answer, "documents": [document]}
    return json.dumps(
        {"id": f"q{number}", "inputs": {"question": question}, "expectations": expectations},
        ensure_ascii=False,
    )
