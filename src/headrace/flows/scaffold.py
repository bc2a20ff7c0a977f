"""A new project: an application that runs as it stands, its settings, documents and examples.

The sample documents and questions are in ``handbook.py``.
"""

from __future__ import annotations

import json
import keyword
import re
from pathlib import Path

from headrace.errors import InputError, UserError
from headrace.flows.handbook import DOCS, QUESTIONS, Asked

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

README = """# {name}

    headrace ingest docs/
    headrace ask "How many days of leave do I get?"
    headrace eval
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
    evals = "".join(_example(i, asked) + "\n" for i, asked in enumerate(QUESTIONS, 1))
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


def _example(number: int, asked: Asked) -> str:
    expectations = (
        {"unanswerable": True}
        if asked.answer is None
        else {"answer": asked.answer, "documents": [f"docs/{asked.document}"]}
    )
    return json.dumps(
        {"id": f"q{number}", "inputs": {"question": asked.question}, "expectations": expectations},
        ensure_ascii=False,
    )
